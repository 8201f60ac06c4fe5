"""Members of a project, its API keys, and the users of the store."""

from __future__ import annotations

import streamlit as st

from apps.review import words
from apps.review.state import guarded, reading, say, writing
from apps.review.tables import table
from apps.review.words import escaped
from crowdlearn.service import accounts
from crowdlearn.service.access import Actor
from crowdlearn.service.projects import Project
from crowdlearn.store.tables import ROLES

NO_ROLE = "no role"
ABOUT = {
    "annotator": "votes, and sees nobody else's votes",
    "tool": "a program: adds items and votes, and reads",
    "reviewer": "decides, and sees everything of the items",
    "admin": "everything in the project",
}


def show_members(actor: Actor, project: Project) -> None:
    """Who has which role, and a form to change it."""
    with reading() as db:
        found = accounts.list_members(db, actor, project.name)
    if found:
        rows = [{"user": member.name, "role": member.role} for member in found]
        st.dataframe(table(rows), hide_index=True, key="members")
    else:
        st.caption("No members yet. Owners of the store are admins everywhere.")
    with st.form("member", border=True):
        left, right = st.columns(2)
        name = left.text_input("User", key="member name", max_chars=200)
        role = right.selectbox("Role", [*ROLES, NO_ROLE], index=ROLES.index("reviewer"))
        if st.form_submit_button("Set role", key="set role"):
            with writing() as db:
                accounts.set_member(
                    db, actor, project.name, name.strip(), None if role == NO_ROLE else role
                )
            say("done", f"{escaped(name.strip())}: {role}")
            st.rerun()
    st.caption(" · ".join(f"**{role}** {what}" for role, what in ABOUT.items()))


def show_keys(actor: Actor, project: Project) -> None:
    """The keys, and forms to make and revoke them."""
    fresh = st.session_state.get("fresh key")
    if fresh is not None:
        st.success("The new key is shown this once. Keep it now.", icon=":material/key:")
        st.code(fresh, language=None, wrap_lines=True)
        st.button("I have kept it", key="kept", on_click=st.session_state.pop, args=("fresh key",))
    with reading() as db:
        found = accounts.list_keys(db, actor, project.name)
    if found:
        st.dataframe(table([_key_row(key) for key in found]), hide_index=True, key="keys")
    else:
        st.caption("No keys yet.")
    with st.form("key", border=True, clear_on_submit=True):
        places = st.columns(3)
        name = places[0].text_input("What it is for", max_chars=200, key="key name")
        role = places[1].selectbox("Role", ROLES, index=ROLES.index("tool"))
        days = places[2].number_input("Days it lives (0: for ever)", 0, 36500, 90)
        if st.form_submit_button("Make key", key="make key"):
            with writing() as db:
                _, secret = accounts.make_key(
                    db, actor, project.name, name, role, days=days or None
                )
            st.session_state["fresh key"] = secret
            st.rerun()
    live = {key.id: key.name for key in found if key.revoked_at is None}
    if live:
        left, right = st.columns([3, 1], vertical_alignment="bottom")
        chosen = left.selectbox(
            "Revoke", list(live), index=None, format_func=lambda id: f"{id}: {live[id]}",
            placeholder="Choose a key", key=f"revoked {len(live)}",
        )  # fmt: skip
        right.button(
            "Revoke key", key="revoke", disabled=chosen is None, on_click=revoke,
            args=(actor, project, chosen), width="stretch",
        )  # fmt: skip


def _key_row(key: accounts.ApiKey) -> dict[str, object]:
    def shown(at: int | None) -> str:
        return "" if at is None else words.moment(at)

    return {
        "number": key.id, "for": key.name, "role": key.role, "made": shown(key.created_at),
        "ends": shown(key.expires_at), "last used": shown(key.last_used_at),
        "revoked": shown(key.revoked_at),
    }  # fmt: skip


@guarded
def revoke(actor: Actor, project: Project, key: int) -> None:
    """End a key at once."""
    with writing() as db:
        accounts.revoke_key(db, actor, project.name, key)
    say("done", f"Key {key} is revoked")


def show_users(actor: Actor) -> None:
    """The users of the store, and forms to add and shut out."""
    with reading() as db:
        found = accounts.list_users(db, actor)
    if found:
        rows = [
            {
                "user": user["name"], "owner": user["owner"], "shut out": user["disabled"],
                "since": words.moment(user["created_at"]),
            }
            for user in found
        ]  # fmt: skip
        st.dataframe(table(rows), hide_index=True, key="users")
    else:
        st.caption("No users yet.")
    _add_user(actor)
    if found:
        _shut_out(actor, {user["name"]: bool(user["disabled"]) for user in found})


def _add_user(actor: Actor) -> None:
    with st.form("user", border=True, clear_on_submit=True):
        left, right = st.columns(2)
        name = left.text_input("Name, or e-mail of who signs in elsewhere", max_chars=200)
        word = right.text_input(
            f"Password, {accounts.SHORTEST} characters or more", type="password",
            help="Empty for one who signs in through OpenID Connect", autocomplete="new-password",
        )  # fmt: skip
        owner = st.checkbox("Owner: every right in every project")
        if st.form_submit_button("Add user", key="add user"):
            with writing() as db:
                accounts.add_user(db, actor, name, word or None, owner=owner)
            say("done", f"{escaped(name.strip())} is a user now")
            st.rerun()


def _shut_out(actor: Actor, found: dict[str, bool]) -> None:
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    name = left.selectbox("Shut out, or let in again", list(found), index=None, key="shut out name")
    out = name is not None and found[name]
    right.button(
        "Let in" if out else "Shut out", key="shut out", disabled=name is None, width="stretch",
        on_click=shut_out, args=(actor, name, not out),
    )  # fmt: skip


@guarded
def shut_out(actor: Actor, name: str, out: bool) -> None:
    """Shut a user out, or let them in again."""
    with writing() as db:
        accounts.disable_user(db, actor, name, disabled=out)
    say("done", f"{escaped(name)} is {'shut out' if out else 'let in again'}")
