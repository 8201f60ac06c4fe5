"""The item on this window's desk: lent for a while, decided once, never by a key pressed too soon.

A window is a session of its own, so two of them never get the same item. A button says which item
it was drawn for; a click for another one than lies here now is not for this one, and is dropped.
"""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, replace

import streamlit as st
from sqlalchemy import Connection

from apps.review.state import say, writing
from apps.review.words import escaped
from crowdlearn.errors import ConflictError, CrowdlearnError
from crowdlearn.service import assignments
from crowdlearn.service.access import Actor
from crowdlearn.service.assignments import Loan
from crowdlearn.service.projects import Project, by_id
from crowdlearn.store.database import now

TOO_SOON = 0.25  # seconds on the screen before which nobody has looked


@dataclass(frozen=True)
class Desk:
    """What lies here: a loan of a project, and since when it has all been sent to the screen
    (seconds of the monotonic clock; None: not yet)."""

    project: int
    loan: Loan
    since: float | None = None


def session() -> str:
    """A random name of this window."""
    if "window" not in st.session_state:
        st.session_state["window"] = secrets.token_hex(8)
    return str(st.session_state["window"])


def on_desk(project: Project, purpose: str) -> Loan | None:
    """The loan that lies here; None where it is another's."""
    desk: Desk | None = st.session_state.get("desk")
    if desk is None or desk.project != project.id or desk.loan.purpose != purpose:
        return None
    return desk.loan


def put(project: Project, loan: Loan | None) -> None:
    """Lay a loan here, or (None) clear the desk."""
    st.session_state["desk"] = None if loan is None else Desk(project.id, loan)


def seen() -> None:
    """Note that all of what lies here has been sent to the screen."""
    desk: Desk | None = st.session_state.get("desk")
    if desk is not None and desk.since is None:
        st.session_state["desk"] = replace(desk, since=time.monotonic())


def lent(actor: Actor, project: Project, purpose: str) -> Loan | None:
    """What lies here, with its lease renewed where it runs out; else the next item, if any."""
    loan = on_desk(project, purpose)
    half = project.settings.lease_seconds * 500_000
    if loan is not None and loan.until - now() > half:
        return loan
    with writing() as db:
        if loan is not None and assignments.renew(db, actor, project.name, loan.token) is None:
            say("warning", f"Your hold on {escaped(loan.item.name)} ran out.")
        found = take_next(db, actor, project, purpose)
    return found


def take_next(db: Connection, actor: Actor, project: Project, purpose: str) -> Loan | None:
    """Lay the next item here, or the one that is held already."""
    before = on_desk(project, purpose)
    found = assignments.next_item(db, actor, project.name, purpose, session=session())
    if found is None or before is None or before.token != found.token:
        put(project, found)
    else:  # the same, with a new lease: it has been seen for a while
        desk: Desk = st.session_state["desk"]
        st.session_state["desk"] = replace(desk, loan=found)
    return found


def take(actor: Actor, project: Project, name: str) -> bool:
    """Lay this item here to be answered; False (and words) where somebody else holds it."""
    try:
        with writing() as db:
            loan = assignments.take_item(db, actor, project.name, name, session=session())
    except ConflictError as error:
        say("warning", escaped(str(error)))
        return False
    put(project, loan)
    return True


def give_back(actor: Actor) -> None:
    """Clear the desk for others, as far as the one who leaves still may."""
    desk: Desk | None = st.session_state.get("desk")
    if desk is None:
        return
    with suppress(CrowdlearnError), writing() as db:
        assignments.release(db, actor, by_id(db, desk.project).name, desk.loan.token)
    st.session_state["desk"] = None


def is_meant(project: Project, purpose: str, name: str, token: str) -> bool:
    """Whether a click drawn for this item may decide it: it lies here, and has been seen."""
    loan = on_desk(project, purpose)
    if loan is None or loan.item.name != name or loan.token != token:
        say("done", f"Another key for {escaped(name)} was dropped: it is decided already.")
        return False
    desk: Desk = st.session_state["desk"]
    if desk.since is None or time.monotonic() - desk.since < TOO_SOON:
        say("done", f"A key was dropped: {escaped(name)} had only just appeared.")
        return False
    return True
