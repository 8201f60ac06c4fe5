"""The first page of an empty store."""

from __future__ import annotations

import streamlit as st

from apps.review.state import choose_project, go, guarded, writing
from crowdlearn.service.access import Actor
from crowdlearn.service.demo import DIGITS, add_demo


def show(actor: Actor) -> None:
    """What this is, and two ways to begin."""
    with st.columns([1, 2, 1])[1]:
        st.title("Review the crowd's votes")
        st.markdown(
            "Many people have voted, some of them wrong. This app finds the label that each item "
            "most probably has, shows the items where your answer is worth most, and learns from "
            "every answer who can be trusted."
        )
        if not actor.owner:
            st.info("You have no project yet. Ask the admin of one to add you.")
            return
        left, right = st.columns(2)
        left.button(
            "Try the demo", key="demo", type="primary", width="stretch", on_click=start_demo,
            args=(actor,), icon=":material/science:",
        )  # fmt: skip
        right.button(
            "New project", key="new project", width="stretch", on_click=go, args=("project",),
            icon=":material/add:",
        )  # fmt: skip
        st.caption(
            "The demo is two projects: a thousand handwritten digits with a crowd that is "
            "simulated, and 45 patients judged by five anaesthetists."
        )


@guarded
def start_demo(actor: Actor) -> None:
    """Make the demo's projects, and open the first."""
    with st.spinner("Making the demo …"), writing() as db:
        add_demo(db, actor)
    choose_project(DIGITS)
