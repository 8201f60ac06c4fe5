"""One item in full: what it is, who said what, why its label, and what can be done with it."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from apps.review import about_item, desk, words
from apps.review.payloads import show_payload
from apps.review.state import go, guarded, reading, say, writing
from apps.review.words import escaped
from crowdlearn.errors import NotFoundError
from crowdlearn.service import answers
from crowdlearn.service.access import RIGHTS, Actor
from crowdlearn.service.projects import Project
from crowdlearn.service.views import ItemView, view_item


def show_item(actor: Actor, project: Project, name: str, close: Callable[[], None]) -> None:
    """The item of this name, and a way back to the list."""
    st.button("All items", key="all items", icon=":material/arrow_back:", on_click=close)
    try:
        with reading() as db:
            view = view_item(db, actor, project.name, name)
    except NotFoundError as error:
        st.warning(escaped(str(error)))
        return
    hidden = project.settings.blind and view.seen == 0 and project.role != "admin"
    left, right = st.columns([5, 4], gap="medium")
    with left:
        st.subheader(escaped(name))
        show_payload(actor, project, view.item)
        if hidden:
            st.caption("Votes are hidden until the item is decided.")
        else:
            about_item.votes_table(view)
            about_item.reasons(project, view, queued=False)
    with right:
        _state(view)
        if not hidden:
            about_item.label_line(view)
            about_item.posterior_bars(view)
        if project.role in RIGHTS["answer"]:
            _actions(actor, project, view)
        if not hidden:
            about_item.weight_bars(view)
        _history(actor, project, view)


def _state(view: ItemView) -> None:
    colours = {"open": "blue", "answered": "green", "accepted": "green", "flagged": "orange"}
    st.badge(words.STATES[view.item.state], color=colours[view.item.state])  # type: ignore[arg-type]


def _actions(actor: Actor, project: Project, view: ItemView) -> None:
    name = view.item.name
    given = (actor, project, name)
    with st.container(horizontal=True):
        st.button(
            "Decide" if view.seen == 0 else "Decide anew", key=f"decide {name}", type="primary",
            on_click=decide, args=given,
        )  # fmt: skip
        if view.item.state == "flagged":
            st.button("Unflag", key=f"unflag {name}", on_click=unflag, args=given)
        own = view.decided_by == actor.name.removeprefix("user:")
        if view.seen and (own or project.role == "admin"):
            st.button(
                "Take the decision back", key=f"take back {name}", on_click=take_back,
                args=(*given, view.seen),
            )  # fmt: skip


def _history(actor: Actor, project: Project, view: ItemView) -> None:
    st.markdown("**History**")
    about_item.history(view)
    if project.role not in RIGHTS["comment"]:
        return
    with st.form(f"note on {view.item.name}", clear_on_submit=True, border=False):
        said = st.text_input("Note", max_chars=answers.LONGEST_NOTE)
        if st.form_submit_button("Add note"):
            with writing() as db:
                answers.note(db, actor, project.name, view.item.name, said)
            st.rerun()


@guarded
def decide(actor: Actor, project: Project, name: str) -> None:
    """Lay the item on the desk, and go there."""
    if desk.take(actor, project, name):
        go("queue")


@guarded
def unflag(actor: Actor, project: Project, name: str) -> None:
    """Put a flagged item back into the queue."""
    with writing() as db:
        answers.unflag(db, actor, project.name, name)
    say("done", f"{escaped(name)} is back in the queue")


@guarded
def take_back(actor: Actor, project: Project, name: str, seq: int) -> None:
    """Take the decision that was seen back."""
    with writing() as db:
        answers.undo(db, actor, project.name, seq)
    say("done", f"{escaped(name)}: the decision is taken back")
