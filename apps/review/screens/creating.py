"""A new project: by hand, or from a file of votes; and the demo."""

from __future__ import annotations

from typing import Any

import streamlit as st

from apps.review import uploads
from apps.review.screens.start import start_demo
from apps.review.state import choose_project, say, writing
from apps.review.words import escaped
from crowdlearn.errors import CrowdlearnError
from crowdlearn.service.access import Actor
from crowdlearn.service.importing import perform
from crowdlearn.service.projects import create_project


def show(actor: Actor) -> None:
    """A form, and the demo."""
    with st.form("create", border=True):
        name = st.text_input("Name", key="new name", max_chars=100)
        left, right = st.columns(2)
        file = left.file_uploader(
            "File of votes (optional)", type=uploads.TYPES, key="new file",
            help="Columns task, worker, label; its labels become the classes",
        )  # fmt: skip
        classes = right.text_area(
            "Classes, one a line", key="new classes", height=120,
            help="May stay empty where there is a file of votes",
        )  # fmt: skip
        guideline = st.text_area("Guideline (Markdown)", key="new guideline", height=90)
        simulated = st.checkbox("The votes are simulated: say so everywhere", key="new simulated")
        wanted = st.form_submit_button("Create project", type="primary", key="create project")
    if wanted:
        try:
            _create(actor, name.strip(), file, classes, guideline, simulated)
        except CrowdlearnError as error:
            st.error(escaped(str(error)), icon=":material/error:")
    st.button(
        "Add the demo projects", key="demo", on_click=start_demo, args=(actor,),
        icon=":material/science:",
    )  # fmt: skip


def _create(
    actor: Actor, name: str, file: Any, classes: str, guideline: str, simulated: bool
) -> None:
    listed = [line.strip() for line in classes.splitlines() if line.strip()]
    upload = None
    if file is not None:
        upload, _ = uploads.read_dropped(file, "votes")
        assert upload.votes is not None, "a file of votes has votes"
        listed += [label for label in upload.votes.classes if label not in listed]
    with writing() as db:
        create_project(
            db, actor, name, listed, guideline=guideline, simulated=simulated,
        )  # fmt: skip
        if upload is not None:
            perform(db, actor, name, upload)
    uploads.forget()
    choose_project(name)
    say("done", f"The project {escaped(name)} is made")
    st.rerun()
