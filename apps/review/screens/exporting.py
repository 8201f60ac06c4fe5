"""Export: what the project knows, as a file to download."""

from __future__ import annotations

import tempfile
from typing import BinaryIO, cast

import streamlit as st

from apps.review.state import reading, writing
from crowdlearn.service import exporting
from crowdlearn.service.access import Actor
from crowdlearn.service.projects import Project

ABOUT = {
    "labels": "Every item with its label, confidence and posterior",
    "votes": "Every vote: item, worker, label, time",
    "answers": "Everything experts said: answers, acceptances, undone ones, skips, flags, notes",
    "workers": "Every worker with votes, accuracy and its interval",
}
FORMATS = {
    "csv": "CSV", "parquet": "Parquet", "jsonl": "JSON Lines", "label-studio": "Label Studio",
}  # fmt: skip


def show(actor: Actor, project: Project) -> None:
    """A choice of content and format, and the file."""
    left, right = st.columns(2)
    what = left.selectbox("Content", list(ABOUT), key="export what")
    formats = [name for name in FORMATS if what == "labels" or name != "label-studio"]
    format = right.selectbox("Format", formats, format_func=FORMATS.__getitem__, key="export as")
    st.caption(ABOUT[what])
    raw = format == "csv" and st.checkbox(
        "Leave texts as they are, even where a spreadsheet would run them as formulas", key="raw"
    )
    asked = (project.id, what, format, raw)
    if st.button("Prepare file", key="prepare", type="primary"):
        st.session_state["export"] = (asked, *_written(actor, project, what, format, raw))
    kept = st.session_state.get("export")
    if kept is not None and kept[0] == asked:
        name = f"{project.name}-{what}{exporting.FORMATS[format]}"
        st.download_button(
            f"Download {kept[2]:,} rows", kept[1], file_name=name, key="download",
            mime="application/octet-stream", on_click="ignore", icon=":material/download:",
        )  # fmt: skip


def _written(
    actor: Actor, project: Project, what: str, format: str, raw: bool
) -> tuple[bytes, int]:
    """The file and its rows, noted in the audit trail."""
    with st.spinner("Writing …"), tempfile.TemporaryFile() as file:
        with reading() as db:
            n = exporting.export(
                db, actor, project.name, cast(BinaryIO, file), what=what, format=format, raw=raw
            )
        with writing() as db:
            exporting.note_export(db, actor, project.name, what, format)
        file.seek(0)
        return file.read(), n
