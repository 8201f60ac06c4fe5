"""The audit trail, and whether all that is derived is what the log says."""

from __future__ import annotations

import json

import streamlit as st

from apps.review import words
from apps.review.state import reading
from apps.review.tables import table
from apps.review.words import escaped
from crowdlearn.service.access import Actor
from crowdlearn.service.projects import Project
from crowdlearn.service.trail import read_trail
from crowdlearn.service.verifying import Verified, verify

ROWS = 50


def show(actor: Actor, project: Project) -> None:
    """A button to verify, and who changed what."""
    if st.button("Verify", key="verify", icon=":material/verified:"):
        with st.spinner("Rebuilding everything from the log …"), reading() as db:
            _verified(verify(db, actor, project.name))
    st.caption("Rebuilds labels and workers from the log, and compares them to the last bit.")
    if st.session_state.get("trail of") != project.id:
        st.session_state["trail of"], st.session_state["trail"] = project.id, [None]
    pages = st.session_state["trail"]
    with reading() as db:
        found = read_trail(db, actor, project.name, before=pages[-1], limit=ROWS)
    rows = [
        {
            "at": words.moment(row["at"]), "who": words.person(row["actor"]),
            "what": row["action"], "detail": json.dumps(row["detail"], ensure_ascii=False),
        }
        for row in found
    ]  # fmt: skip
    st.dataframe(table(rows), hide_index=True, key=f"trail {len(pages)}")
    with st.container(horizontal=True):
        st.button("Newer", key="newer", disabled=len(pages) < 2, on_click=pages.pop)
        st.button(
            "Older", key="older", disabled=len(found) < ROWS, on_click=pages.append,
            args=(found[-1]["id"] if found else None,),
        )  # fmt: skip


def _verified(found: Verified) -> None:
    if found.problems:
        st.error(f"{len(found.problems)} problems, the first: {escaped(found.problems[0])}")
        return
    st.success(
        f"All is as the log has it: {words.items(found.n_items)}, {words.votes(found.n_votes)}, "
        f"fold {found.fold}."
    )
    st.code(found.digest or "no fold yet", language=None)
