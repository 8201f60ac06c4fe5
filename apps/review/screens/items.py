"""Items: search and filter, a page at a time; one in full; labels accepted in bulk."""

from __future__ import annotations

from typing import Any

import streamlit as st
from sqlalchemy import Connection

from apps.review import desk, words
from apps.review.screens.item import show_item
from apps.review.state import guarded, reading, say, writing
from apps.review.tables import table
from apps.review.words import escaped
from crowdlearn.errors import NotFoundError
from crowdlearn.service import answers
from crowdlearn.service.access import RIGHTS, Actor
from crowdlearn.service.items import STATES, Item, count_items, list_items
from crowdlearn.service.projects import Project
from crowdlearn.service.workers import read_worker

ROWS = 50
ORDERS = {
    "most urgent": ("urgency", False), "in their order": ("number", False),
    "least sure": ("confidence", False), "surest": ("confidence", True),
}  # fmt: skip


def show(actor: Actor, project: Project) -> None:
    """The list, or the item that is open."""
    opened = st.session_state.get("opened item") or st.query_params.get("item")
    if opened:
        st.query_params["item"] = opened
        st.query_params["project"] = project.name
        show_item(actor, project, opened, _close)
        return
    st.header("Items")
    conditions = _filters(actor, project)
    if conditions is not None:
        _list(actor, project, conditions)
    if project.role in RIGHTS["accept"]:
        _bulk(actor, project)


def _close() -> None:
    st.session_state["opened item"] = None
    st.query_params.clear()


def _filters(actor: Actor, project: Project) -> dict[str, Any] | None:
    """What the choices on the page ask for; None where they cannot be met."""
    places = st.columns([2.2, 1.3, 1.5, 1.4])
    search = places[0].text_input("Search names and texts", key="search", max_chars=200)
    state = places[1].selectbox(
        "State", list(STATES), index=None, placeholder="any", key="state", format_func=str
    )
    label = places[2].selectbox(
        "Label", project.classes, index=None, placeholder="any", key=f"label {project.id}"
    )
    places[3].selectbox("Order", list(ORDERS), key="order")
    with st.expander("More filters"):
        places = st.columns([2, 1.2, 1.2])
        low, high = places[0].slider("Confidence in %", 0, 100, (0, 100), key="confidence")
        worker = places[1].text_input("Voted on by worker", key="by worker", max_chars=500)
        voted = places[2].selectbox(
            "Votes", ["with", "without"], index=None, placeholder="any", key="voted"
        )
    found: dict[str, Any] = {"search": search.strip() or None, "state": state, "label": label}
    if (low, high) != (0, 100):
        found |= {"at_least": low / 100, "at_most": high / 100}
    if voted is not None:
        found["voted"] = voted == "with"
    if worker:
        try:
            with reading() as db:
                found["worker"] = read_worker(db, actor, project.name, worker).number
        except NotFoundError as error:
            st.warning(escaped(str(error)))
            return None
    return {name: value for name, value in found.items() if value is not None}


def _list(actor: Actor, project: Project, conditions: dict[str, Any]) -> None:
    order, descending = ORDERS[st.session_state["order"]]
    asked = (project.id, order, descending, tuple(sorted(conditions.items())))
    if st.session_state.get("items asked") != asked:
        st.session_state["items asked"], st.session_state["items pages"] = asked, [None]
    pages: list[Any] = st.session_state["items pages"]
    with reading() as db:
        found, more = list_items(
            db, actor, project.name, order=order, descending=descending, after=pages[-1],
            limit=ROWS, **conditions,
        )  # fmt: skip
        n = _count(db, actor, project, conditions)
    first = ROWS * (len(pages) - 1)
    if more is None:
        n = first + len(found)
    _pager(first, len(found), n, more, pages)
    if found:
        _table(found, first)


def _count(
    db: Connection, actor: Actor, project: Project, conditions: dict[str, Any]
) -> int | None:
    """How many items meet the conditions; None where to count would mean to read every text."""
    if not conditions:
        return project.n_items
    if "search" in conditions:
        return None
    return count_items(db, actor, project.name, **conditions)


def _pager(first: int, n_here: int, n: int | None, more: Any, pages: list[Any]) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key="pager"):
        at = f"{first + 1:,} to {first + n_here:,} of " if n_here else ""
        st.markdown(f"{at}{'more' if n is None else words.items(n)}")
        st.button(
            "Previous", key="previous items", disabled=len(pages) < 2, on_click=pages.pop,
            icon=":material/chevron_left:",
        )  # fmt: skip
        st.button(
            "Next", key="next items", disabled=more is None, on_click=pages.append, args=(more,),
            icon=":material/chevron_right:", icon_position="right",
        )  # fmt: skip
        st.caption("Tick a row to open it.")


def _table(found: list[Item], first: int) -> None:
    rows = [
        {
            "item": item.name, "label": item.label, "confidence": 100 * item.confidence,
            "votes": item.n_votes, "state": words.STATES[item.state],
            "payload": _payload(item),
        }
        for item in found
    ]  # fmt: skip
    names = [item.name for item in found]
    key = f"items {hash((first, *names))}"  # another page is another table, with nothing ticked
    st.dataframe(
        table(rows), hide_index=True, key=key, selection_mode="single-row",
        on_select=lambda: _open_ticked(key, names), height=min(38 + 35 * len(rows), 500),
        column_config={
            "confidence": st.column_config.ProgressColumn(
                "confidence", min_value=0, max_value=100, format="%.1f %%"
            ),
        },
    )  # fmt: skip


def _open_ticked(key: str, names: list[str]) -> None:
    ticked = st.session_state[key]["selection"]["rows"]
    if ticked:
        st.session_state["opened item"] = names[ticked[0]]


def _payload(item: Item) -> str:
    if item.payload is None or item.payload_kind in ("image", "audio"):
        return "" if item.payload is None else f"({item.payload_kind})"
    return item.payload


@st.fragment
def _bulk(actor: Actor, project: Project) -> None:
    """Counts all that might be accepted, so it does so only where it is asked for."""
    if not st.toggle("Accept labels in bulk", key="bulk"):
        return
    with st.container(border=True):
        left, right = st.columns([2, 1])
        sure = left.slider(
            "Labels of open items with at least this confidence in %", 50.0, 100.0, 99.0, 0.5,
            key="accept at", format="%.1f",
        )  # fmt: skip
        label = right.selectbox(
            "Class", project.classes, index=None, placeholder="all", key=f"accept {project.id}"
        )
        with reading() as db:
            found = answers.acceptable(db, actor, project.name, sure / 100, label=label)
            last = answers.last_decision(db, actor, project.name, "accept")
        if found.n_items:
            wrong = escaped(words.percent(found.expected_error, 2))
            st.markdown(
                f"**{words.items(found.n_items)}** would be accepted; the model expects "
                f"**{wrong}** of these labels to be wrong."
            )
        else:
            st.markdown("No open item has a label of this confidence.")
        with st.container(horizontal=True):
            st.button(
                f"Accept {words.items(found.n_items)}", key="accept", type="primary",
                disabled=found.n_items == 0, on_click=accept,
                args=(actor, project, sure / 100, label),
            )  # fmt: skip
            st.button(
                "Undo my last bulk acceptance", key="undo accept", disabled=last is None,
                on_click=undo_bulk, args=(actor, project, last and last.seq),
                help=None if last is None else f"Of {words.moment(last.at)}",
            )  # fmt: skip
    if st.session_state.pop("list changed", False):
        st.rerun()


@guarded
def accept(actor: Actor, project: Project, at_least: float, label: str | None) -> None:
    """Take the labels of this confidence as they are."""
    with writing() as db:
        n = answers.accept(db, actor, project.name, at_least, label=label)
    desk.put(project, None)
    st.session_state["list changed"] = True
    say("done", f"{words.items(n)} accepted")


@guarded
def undo_bulk(actor: Actor, project: Project, seq: int) -> None:
    """Take a bulk acceptance back as one."""
    with writing() as db:
        answers.undo(db, actor, project.name, seq)
    st.session_state["list changed"] = True
    say("done", "The bulk acceptance is taken back")
