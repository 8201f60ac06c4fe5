"""Who is there: anybody on this machine, a user with a password, or one whom a provider knows."""

from __future__ import annotations

import os
import threading
import time

import streamlit as st
from sqlalchemy import Connection
from streamlit.errors import StreamlitAuthError

from apps.review import desk
from apps.review.run import is_loopback
from apps.review.state import reading, writing
from apps.review.words import escaped
from crowdlearn.errors import NotAllowedError, SettingsError
from crowdlearn.service.access import LOCAL, Actor
from crowdlearn.service.accounts import change_password, known_user, list_users, signed_in

ALONE = "<style>[data-testid='stSidebar'] { display: none; }</style>"
FREE_TRIES, LONGEST_WAIT, MOST_NAMES = 5, 300.0, 10_000


def wait_after(failures: int) -> float:
    """Seconds until the next try after so many failures in a row."""
    return 0.0 if failures < FREE_TRIES else min(2.0 ** (failures - FREE_TRIES), LONGEST_WAIT)


class Patience:
    """Failed sign-ins by user name. A try counts as failed until it has not."""

    def __init__(self) -> None:
        self._failed: dict[str, tuple[int, float]] = {}
        self._lock = threading.Lock()

    def begin(self, name: str, time_now: float) -> float:
        """Start a try; seconds to wait where it is too early for one, else 0."""
        with self._lock:
            failures, until = self._failed.pop(name, (0, 0.0))
            early = time_now < until
            failures = failures if early else failures + 1
            self._failed[name] = failures, until if early else time_now + wait_after(failures)
            while len(self._failed) > MOST_NAMES:
                self._failed.pop(next(iter(self._failed)))
            return until - time_now if early else 0.0

    def succeeded(self, name: str) -> None:
        """Forget the failures of this name."""
        with self._lock:
            self._failed.pop(name, None)


@st.cache_resource(show_spinner=False)
def patience(address: str) -> Patience:
    """The failures at this store, of all sessions of the process."""
    return Patience()


def current_actor() -> Actor:
    """Who asks; shows a page to sign in, and stops there, where that is not known."""
    mode = os.environ.get("CROWDLEARN_AUTH", "none")
    if mode == "none":
        return _anybody_here()
    if mode == "password":
        return _by_password()
    if mode == "oidc":
        return _by_provider()
    raise SettingsError(f"CROWDLEARN_AUTH {mode!r} is not one of none, password, oidc")


def account(actor: Actor) -> None:
    """The corner of the one who is signed in: password and way out."""
    mode = os.environ.get("CROWDLEARN_AUTH", "none")
    if mode == "none":
        return
    name = actor.name.removeprefix("user:")
    with st.popover(escaped(name), icon=":material/account_circle:", width="stretch"):
        if mode == "password":
            _new_password(actor, name)
        st.button(
            "Sign out", key="sign out", on_click=_sign_out, args=(actor,), icon=":material/logout:"
        )


def _anybody_here() -> Actor:
    peer = st.context.ip_address  # None for this machine
    if isinstance(peer, str) and not is_loopback(peer.removeprefix("::ffff:")):
        st.error(
            "This app runs without sign-in, so it serves its own machine only. "
            "Start it with CROWDLEARN_AUTH set to password or oidc."
        )
        st.stop()
    return LOCAL


def _by_password() -> Actor:
    name = st.session_state.get("signed in")
    if name is not None:
        with reading() as db:
            actor = known_user(db, name)
        if actor is not None:
            return actor
        st.session_state.clear()
    st.html(ALONE)
    with st.columns([1, 1.3, 1])[1]:
        _form()
    st.stop()


def _form() -> None:
    st.header("crowdlearn review")
    with reading() as db:
        empty = _no_users(db)
    if empty:
        st.info("There are no users yet. Make the first one on the machine of the store:")
        st.code("crowdlearn store user NAME --owner", language=None)
        st.button("Look again", key="look again")
        return
    with st.form("sign in", border=True):
        name = st.text_input("User name", key="name", autocomplete="username")
        word = st.text_input(
            "Password", type="password", key="password", autocomplete="current-password"
        )
        if st.form_submit_button("Sign in", type="primary", width="stretch"):
            _try(name.strip(), word)


def _try(name: str, word: str) -> None:
    tries = patience(os.environ.get("CROWDLEARN_STORE", ""))
    left = tries.begin(name, time.monotonic())
    if left > 0:
        st.error(f"Too many failed tries: wait {left:.0f} s, then try again.")
        return
    with reading() as db:
        actor = signed_in(db, name, word)
    if actor is None:
        st.error("This user name and password do not fit.")
        return
    tries.succeeded(name)
    st.session_state["signed in"] = name
    st.rerun()


def _by_provider() -> Actor:
    if not st.user.get("is_logged_in", False):
        st.html(ALONE)
        with st.columns([1, 1.3, 1])[1]:
            st.header("crowdlearn review")
            if st.button("Sign in", type="primary", icon=":material/login:", key="sign in"):
                _to_provider()
        st.stop()
    mail, verified = st.user.get("email"), st.user.get("email_verified", True)
    with reading() as db:
        actor = known_user(db, str(mail)) if mail and verified is not False else None
    if actor is None:
        _stranger(str(mail or ""), verified is not False)
        st.stop()
    return actor


def _to_provider() -> None:
    try:
        st.login()
    except StreamlitAuthError:
        st.error(
            "No provider is set up: the server's secrets.toml needs a section [auth] with "
            "redirect_uri, cookie_secret, client_id, client_secret and server_metadata_url."
        )


def _stranger(mail: str, verified: bool) -> None:
    st.header("You are signed in, but no user here")
    if not mail:
        st.write("Your provider did not tell your e-mail address.")
    elif not verified:
        st.write(f"Your provider has not verified {escaped(mail)}.")
    else:
        st.write(f"There is no user {escaped(mail)}. An owner of the store can add you:")
        st.code(f"crowdlearn store user {mail} --openid", language=None, wrap_lines=True)
    st.button("Sign out", on_click=_sign_out, icon=":material/logout:")


def _sign_out(actor: Actor | None = None) -> None:
    if actor is not None:
        desk.give_back(actor)
    st.session_state.clear()
    if os.environ.get("CROWDLEARN_AUTH") == "oidc":
        st.logout()


def _new_password(actor: Actor, name: str) -> None:
    with st.form("new password", border=False, clear_on_submit=True):
        old = st.text_input("Password now", type="password")
        new = st.text_input("New password", type="password")
        if st.form_submit_button("Change password"):
            _change(actor, name, old, new)


def _change(actor: Actor, name: str, old: str, new: str) -> None:
    with reading() as db:
        fits = signed_in(db, name, old) is not None
    if not fits:
        st.error("The password now is another one.")
        return
    try:
        with writing() as db:
            change_password(db, actor, name, new)
        st.success("Your password is changed.")
    except (SettingsError, NotAllowedError) as error:
        st.error(escaped(str(error)))


def _no_users(db: Connection) -> bool:
    return not list_users(db, LOCAL)
