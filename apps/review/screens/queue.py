"""Queue: the item whose answer is worth most, decided with one key; and what that changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import streamlit as st

from apps.review import about_item, desk, words
from apps.review.class_buttons import class_buttons
from apps.review.payloads import show_payload
from apps.review.state import guarded, reading, say, writing
from apps.review.words import escaped
from crowdlearn.errors import ConflictError
from crowdlearn.service import answers
from crowdlearn.service.access import Actor
from crowdlearn.service.assignments import Loan
from crowdlearn.service.items import read_item
from crowdlearn.service.progress import read_head, read_progress
from crowdlearn.service.projects import Project
from crowdlearn.service.views import ItemView, view_item

PURPOSE = "answer"


@dataclass(frozen=True)
class Change:
    """A decision (or its undoing) as event `seq`, with figures before it and, once folded, after.

    `before` and `after` are the probability of the class, and the project's expected error.
    """

    project: int
    item: str
    label: str
    seq: int
    before: tuple[float, float | None]
    after: tuple[float, float | None] | None = None
    undone: bool = False


def show(actor: Actor, project: Project) -> None:
    """The item that lies on the desk, or that all is done."""
    loan = desk.lent(actor, project, PURPOSE)
    if loan is None:
        _done(actor, project)
        return
    with reading() as db:
        view = view_item(db, actor, project.name, loan.item.name)
        mine = answers.last_decision(db, actor, project.name)
    hidden = project.settings.blind and view.seen == 0 and not _revealed(loan)
    left, right = st.columns([5, 4], gap="medium")
    with left:
        _head(project, view)
        show_payload(actor, project, view.item)
    with right:  # buttons first: they take the place of the last item's as soon as can be
        bars = st.container()
        _decision(actor, project, loan, view, mine, hidden)
        note = st.container()
        last_change(actor, project)
    with left:
        if not hidden:
            about_item.votes_table(view)
            about_item.reasons(project, view, queued=True)
    with right:
        if not hidden:
            with bars:
                about_item.label_line(view)
                about_item.posterior_bars(view)
        if not hidden:
            about_item.weight_bars(view)
            with st.expander(f"History ({len(view.history)})"):
                about_item.history(view)
    with note:  # last: a browser loads twenty scripts for a box to write in
        _note_box(loan.token)
    desk.seen()


def _head(project: Project, view: ItemView) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key="item head"):
        st.markdown(f"**{escaped(view.item.name)}**")
        about_item.guideline(project)


def _decision(
    actor: Actor,
    project: Project,
    loan: Loan,
    view: ItemView,
    mine: answers.Undoable | None,
    hidden: bool,
) -> None:
    name, token = loan.item.name, loan.token
    if hidden:
        st.button(
            "Show votes and probabilities", key=f"show {name} {token}", on_click=_reveal,
            args=(token,), icon=":material/visibility:",
        )  # fmt: skip
    class_buttons(
        project, name, token, None if hidden else view.item.label,
        decide, actor, project, name, view.seen, token, view.item.posterior,
    )  # fmt: skip
    given = (actor, project, name, token)
    places = st.columns(3, gap="small")
    places[0].button(
        "Skip", key=f"skip {name} {token}", shortcut="s", width="stretch", on_click=skip,
        args=given, help="Leave it to others; it comes back to you at the end",
    )  # fmt: skip
    places[1].button(
        "Flag", key=f"flag {name} {token}", shortcut="f", width="stretch", on_click=flag,
        args=given, help="Something is wrong with the item: take it out of the queue",
    )  # fmt: skip
    places[2].button(
        "Undo", key=f"undo before {name} {token}", shortcut="u", width="stretch",
        disabled=mine is None, on_click=undo, args=(actor, project, mine and mine.seq),
        help=None if mine is None else f"Take back {escaped(f'{mine.item}: {mine.label}')}",
    )  # fmt: skip


def _note_box(token: str) -> None:
    st.text_input(
        "Note", key=_note_key(token), placeholder="A note for this decision, skip or flag",
        label_visibility="collapsed", max_chars=answers.LONGEST_NOTE,
    )  # fmt: skip


@guarded
def decide(
    actor: Actor,
    project: Project,
    name: str,
    seen: int,
    token: str,
    shown: dict[str, float],
    label: str,
) -> None:
    """Answer an item, and take the next one."""
    if not desk.is_meant(project, PURPOSE, name, token):
        return
    try:
        with writing() as db:
            before = read_head(db, actor, project.name).expected_error
            said = answers.answer(
                db, actor, project.name, name, label, seen=seen, token=token,
                note=_note(token), shown=shown,
            )  # fmt: skip
            desk.take_next(db, actor, project, PURPOSE)
    except ConflictError as error:
        desk.put(project, None)
        say("warning", f"Not kept: {escaped(str(error))}. Here is the next.")
        return
    _remember(Change(project.id, name, label, said.seq, (shown.get(label, 0.0), before)))
    say("done", f"{escaped(name)}: {escaped(label)}")


@guarded
def skip(actor: Actor, project: Project, name: str, token: str) -> None:
    """Leave an item to others, and take the next one."""
    _set_aside(answers.skip, "skipped", actor, project, name, token)


@guarded
def flag(actor: Actor, project: Project, name: str, token: str) -> None:
    """Take an item out of the queue, and take the next one."""
    _set_aside(answers.flag, "flagged", actor, project, name, token)


def _set_aside(
    act: Callable[..., answers.Said], done: str, actor: Actor, project: Project, name: str,
    token: str,
) -> None:  # fmt: skip
    if desk.is_meant(project, PURPOSE, name, token):
        with writing() as db:
            act(db, actor, project.name, name, reason=_note(token))
            desk.take_next(db, actor, project, PURPOSE)
        say("done", f"{escaped(name)}: {done}")


@guarded
def undo(actor: Actor, project: Project, seq: int | None) -> None:
    """Take a decision back, and lay its item here again."""
    with writing() as db:
        last = answers.last_decision(db, actor, project.name)
        if last is None or last.seq != seq:
            say("done", "There was nothing more to take back.")
            return
        head = read_head(db, actor, project.name)
        p = read_item(db, actor, project.name, last.item).posterior.get(last.label, 0.0)
        said, name = answers.undo(db, actor, project.name, seq)
    before = (p, head.expected_error)
    _remember(Change(project.id, name, last.label, said.seq, before, undone=True))
    desk.take(actor, project, name)
    say("done", f"{escaped(name)}: taken back")


def last_change(actor: Actor, project: Project) -> None:
    """What the last decision changed; looks again every second until it is folded."""
    change: Change | None = st.session_state.get("last change")
    if change is None or change.project != project.id:
        return
    every = 1.0 if change.after is None else None
    st.fragment(_last_change, run_every=every)(actor, project)


def _last_change(actor: Actor, project: Project) -> None:
    change: Change = st.session_state["last change"]
    if change.after is None:
        with reading() as db:
            head = read_head(db, actor, project.name)
            item = read_item(db, actor, project.name, change.item)
        if head.upto >= change.seq:
            after = (item.posterior.get(change.label, 0.0), head.expected_error)
            st.session_state["last change"] = replace(change, after=after)
            st.rerun()
    st.markdown(_in_words(change))


def _in_words(change: Change) -> str:
    what = "took back" if change.undone else "decided"
    line = f"You {what} {escaped(change.item)}: **{escaped(change.label)}**"
    if change.after is None:
        return f":small[{line} · being taken in …]"
    (p, error), (p_after, error_after) = change.before, change.after
    line += f" · its probability {_percent(p)} → {_percent(p_after)}"
    if error is not None and error_after is not None:
        line += f" · expected error {_percent(error, 2)} → {_percent(error_after, 2)}"
    return f":small[{line}]"


def _done(actor: Actor, project: Project) -> None:
    with reading() as db:
        found = read_progress(db, actor, project.name)
        mine = answers.last_decision(db, actor, project.name)
    if found.n_items == 0:
        st.info("This project has no items yet. An admin can import some on the Project page.")
        return
    if found.n_open == 0:
        st.success("All done: every item is decided or flagged.", icon=":material/celebration:")
    else:
        st.info(f"{words.items(found.n_open)} left, and others are looking at them now.")
    decided = found.n_answered + found.n_accepted
    st.progress(decided / found.n_items, f"{decided:,} of {words.items(found.n_items)} decided")
    places = st.columns(4)
    places[0].metric("Answered", f"{found.n_answered:,}")
    places[1].metric("Accepted", f"{found.n_accepted:,}")
    places[2].metric("Flagged", f"{found.n_flagged:,}")
    places[3].metric("Expected error", words.percent(found.expected_error, 2))
    with st.container(horizontal=True):
        st.button("Look again", key="look again", icon=":material/refresh:")
        st.button(
            "Undo", key="undo at the end", shortcut="u", disabled=mine is None, on_click=undo,
            args=(actor, project, mine and mine.seq),
        )  # fmt: skip
    last_change(actor, project)


def _remember(change: Change) -> None:
    st.session_state["last change"] = change


def _revealed(loan: Loan) -> bool:
    return st.session_state.get("revealed") == loan.token


def _reveal(token: str) -> None:
    st.session_state["revealed"] = token


def _note_key(token: str) -> str:
    return f"note {token}"


def _note(token: str) -> str | None:
    return st.session_state.get(_note_key(token)) or None


def _percent(share: float, digits: int = 0) -> str:
    return escaped(words.percent(share, digits))
