"""Project: data in and out, guideline and settings, people and keys, and checks."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from apps.review.screens import creating, exporting, importing, people, settings, trail
from apps.review.words import escaped
from crowdlearn.service.access import RIGHTS, Actor
from crowdlearn.service.projects import Project


def show(actor: Actor, project: Project | None) -> None:
    """The section that is chosen, of those that the role may see."""
    st.header("Project" if project is None else f"Project {escaped(project.name)}")
    sections = _sections(actor, project)
    if not sections:
        st.info("There is nothing here for your role.")
        return
    chosen = st.segmented_control(
        "Section", list(sections), default=next(iter(sections)), required=True,
        key=f"section {None if project is None else project.role}", label_visibility="collapsed",
    )  # fmt: skip
    sections[chosen or next(iter(sections))]()


def _sections(actor: Actor, project: Project | None) -> dict[str, Callable[[], None]]:
    found: dict[str, Callable[[], None]] = {}
    if project is not None:
        role = project.role
        if role in RIGHTS["import"]:
            found["Import"] = lambda: importing.show(actor, project)
        if role in RIGHTS["export"]:
            found["Export"] = lambda: exporting.show(actor, project)
        if role in RIGHTS["change project"]:
            found["Settings"] = lambda: settings.show(actor, project)
        if role in RIGHTS["manage members"]:
            found["Members"] = lambda: people.show_members(actor, project)
        if role in RIGHTS["manage keys"]:
            found["API keys"] = lambda: people.show_keys(actor, project)
        if role in RIGHTS["read audit"]:
            found["Trail"] = lambda: trail.show(actor, project)
    if actor.owner:
        found["New project"] = lambda: creating.show(actor)
        found["Users"] = lambda: people.show_users(actor)
    return found
