"""Import: a file is dropped, what it would do is shown, then all of it is done, or nothing."""

from __future__ import annotations

import streamlit as st

from apps.review import uploads, words
from apps.review.state import reading, say, writing
from apps.review.tables import table
from apps.review.words import escaped
from crowdlearn.errors import CrowdlearnError
from crowdlearn.service.access import Actor
from crowdlearn.service.importing import KINDS, Preview, Upload, perform, preview
from crowdlearn.service.projects import Project

ABOUT = {
    "votes": "Columns task, worker, label: CSV, JSON Lines, Parquet, or an export of Label Studio "
    "or Argilla. A file sent again adds only what is new.",
    "items": "A column task and one of text, json or url: CSV, JSON Lines or Parquet. "
    "Or an archive (.zip) of images or sounds.",
    "answers": "Columns task and label: what an expert knows.",
}


def show(actor: Actor, project: Project) -> None:
    """A place to drop a file, and what would come of it."""
    kind = st.segmented_control("What", KINDS, default="votes", required=True, key="import kind")
    kind = kind or "votes"
    st.caption(ABOUT[kind])
    round_ = st.session_state.get("imports done", 0)
    file = st.file_uploader(
        "File", type=uploads.TYPES, key=f"file {kind} {round_}", label_visibility="collapsed"
    )
    if file is None:
        return
    try:
        upload, warned = uploads.read_dropped(file, kind, project.classes)
        with reading() as db:
            found = preview(db, actor, project.name, upload)
    except CrowdlearnError as error:
        st.error(escaped(str(error)), icon=":material/error:")
        return
    for line in warned:
        st.warning(escaped(line))
    _previewed(actor, project, upload, found)


def _previewed(actor: Actor, project: Project, upload: Upload, found: Preview) -> None:
    places = st.columns(5)
    shown = (
        ("Rows", found.n_rows), ("New", found.n_new), ("Known already", found.n_known),
        ("New items", found.n_new_items), ("New workers", found.n_new_workers),
    )  # fmt: skip
    for place, (name, n) in zip(places, shown, strict=True):
        place.metric(name, f"{n:,}")
    st.dataframe(table(found.sample), hide_index=True, key="sample")
    add = False
    if found.unknown_classes:
        listed = ", ".join(escaped(name) for name in found.unknown_classes[:20])
        st.warning(f"These labels are no classes of the project: {listed}")
        add = st.checkbox("Add these classes to the project", key="add classes")
    elif found.problem is not None:
        st.error(escaped(f"{upload.name}: {found.problem}"))
    if st.button(
        f"Import {found.n_new:,} new rows", key="import", type="primary",
        disabled=found.n_new == 0 or (found.problem is not None and not add),
    ):  # fmt: skip
        _import(actor, project, upload, add)


def _import(actor: Actor, project: Project, upload: Upload, add_classes: bool) -> None:
    with st.spinner("Importing …"), writing() as db:
        done = perform(db, actor, project.name, upload, add_classes=add_classes)
    uploads.forget()
    st.session_state["imports done"] = st.session_state.get("imports done", 0) + 1
    new = f", {words.items(done.n_new_items)} new" if done.n_new_items else ""
    say("done", f"{done.n_new:,} rows of {escaped(upload.name)} imported{new}")
    st.rerun()
