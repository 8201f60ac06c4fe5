"""Compare: methods on the project's votes, judged by the experts' answers, and where they part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import streamlit as st

from apps.review import charts, words
from apps.review.state import open_item, reading, writing
from apps.review.tables import table
from apps.review.words import escaped
from crowdlearn.service import comparing
from crowdlearn.service.access import RIGHTS, Actor
from crowdlearn.service.comparing import COMPARED, Compared
from crowdlearn.service.projects import Project

FIRST = ["majority", "dawid-skene", "bcc", "idbla"]
SHARES = ("error", "low", "high", "expected_error")
SHOWN = (
    "method", "error", "low", "high", "log_loss", "expected_error", "differs", "n_answers",
    "seconds",
)  # fmt: skip
PER_ROW = 5


def show(actor: Actor, project: Project) -> None:
    """A choice of methods, what came of it, and what was compared before."""
    st.header("Compare methods")
    if project.n_votes == 0:
        st.info("There are no votes to compare methods on yet.")
        return
    if project.role in RIGHTS["compare methods"]:
        _ask(actor, project)
    kept = st.session_state.get("compared")
    if kept and kept[0] == project.id:
        _results(kept[1], kept[2])
    _before(actor, project)


def _ask(actor: Actor, project: Project) -> None:
    left, right = st.columns([5, 1], vertical_alignment="bottom")
    chosen = left.multiselect("Methods", COMPARED, FIRST, key="methods")
    if right.button("Run", type="primary", key="compare", disabled=not chosen, width="stretch"):
        with st.spinner("Fitting …"):
            with reading() as db:
                material = comparing.gather(db, actor, project.name)
            if material is None:
                st.info("All votes are of blocked workers.")
                return
            rows, torn = comparing.compare_methods(material, chosen)
            with writing() as db:
                comparing.keep_comparison(db, actor, project.name, material, rows)
        st.session_state["compared"] = (project.id, rows, torn)


def _results(rows: list[Compared], torn: list[str]) -> None:
    n_answers = rows[0].n_answers if rows else 0
    if n_answers:
        st.markdown(
            f"Errors are against the answers of experts on {words.items(n_answers)}; "
            "no method was told them. Those items were not drawn at random, so compare methods, "
            "and do not read the errors as those of all items."
        )
        st.altair_chart(charts.errors(rows), width="stretch", alt="Error of each method")
    else:
        st.info("No expert has answered yet: there is nothing to judge the methods by.")
    st.dataframe(
        _table([vars(row) for row in rows]), hide_index=True, key="results",
        column_config=_columns(),
    )  # fmt: skip
    if torn:
        st.markdown(f"**Items that they disagree on** ({len(torn)} shown)")
        for start in range(0, len(torn), PER_ROW):
            places = st.columns(PER_ROW)
            for place, name in zip(places, torn[start : start + PER_ROW], strict=False):
                place.button(
                    escaped(name), key=f"open {name}", on_click=open_item, args=(name,),
                    width="stretch",
                )  # fmt: skip
    elif len(rows) > 1:
        st.caption("They agree on every item.")


def _before(actor: Actor, project: Project) -> None:
    with reading() as db:
        found = comparing.list_fits(db, actor, project.name)
    past = [fit for fit in found if fit["kind"] == "compared"]
    if not past:
        return
    with st.expander(f"Past comparisons ({len(past)})"):
        rows = [{"at": words.moment(fit["at"]), **fit["summary"]} for fit in past]
        st.dataframe(_table(rows), hide_index=True, key="past", column_config=_columns())


def _table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    shown = [*(["at"] if "at" in rows[0] else []), *SHOWN]
    if any(row["note"] for row in rows):
        shown.append("note")
    return table([{name: row.get(name) for name in shown} for row in rows])


def _columns() -> dict[str, Any]:
    shares = {name: st.column_config.NumberColumn(name, format="percent") for name in SHARES}
    return shares | {
        "low": st.column_config.NumberColumn("from", format="percent"),
        "high": st.column_config.NumberColumn("to", format="percent"),
        "log_loss": st.column_config.NumberColumn("log loss", format="%.3f"),
        "expected_error": st.column_config.NumberColumn(
            "expected error", format="percent", help="Mean of 1 - confidence, as the method has it"
        ),
        "differs": st.column_config.NumberColumn(
            "differs", help="Items whose label is not the majority's"
        ),
        "n_answers": st.column_config.NumberColumn("answered"),
        "seconds": st.column_config.NumberColumn("seconds", format="%.2f"),
    }
