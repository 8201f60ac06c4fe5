"""Settings and guideline of a project."""

from __future__ import annotations

import streamlit as st

from apps.review.state import say, writing
from apps.review.words import STRATEGIES, escaped
from crowdlearn.service.access import Actor
from crowdlearn.service.projects import METHODS, Project, change_project


def show(actor: Actor, project: Project) -> None:
    """Two forms."""
    left, right = st.columns(2, gap="medium")
    with left:
        _settings(actor, project)
    with right:
        _guideline(actor, project)
        _classes(actor, project)


def _settings(actor: Actor, project: Project) -> None:
    now = project.settings
    with st.form(f"settings {project.id}", border=True):
        st.markdown("**Settings**")
        method = st.selectbox("Method", METHODS, index=METHODS.index(now.method))
        strategy = st.selectbox(
            "Order of the queue", list(STRATEGIES), index=list(STRATEGIES).index(now.strategy),
            format_func=lambda name: f"{name}: {STRATEGIES[name]}",
        )  # fmt: skip
        a, b = st.columns(2)
        redundancy = a.number_input("Votes per item", 1, 1000, now.redundancy)
        target = b.number_input(
            "Target of the expected error in %", 0.0, 100.0, 100 * now.target, 0.5
        )
        vote_cost = a.number_input("Cost of a vote", 0.0, 1e9, float(now.vote_cost))
        answer_cost = b.number_input("Cost of an answer", 0.0, 1e9, float(now.answer_cost))
        lease = a.number_input("Seconds an item is held", 5, 86400, now.lease_seconds)
        blind = st.checkbox("Hide votes from reviewers until they have decided", value=now.blind)
        st.caption("A new method, order or target makes the aggregator start anew from the log.")
        if st.form_submit_button("Save settings", key="save settings"):
            values = {
                "method": method, "strategy": strategy, "redundancy": int(redundancy),
                "target": round(target / 100, 6), "vote_cost": vote_cost,
                "answer_cost": answer_cost, "lease_seconds": int(lease), "blind": blind,
            }  # fmt: skip
            with writing() as db:
                change_project(db, actor, project.name, settings=values)
            say("done", "Settings saved")
            st.rerun()


def _guideline(actor: Actor, project: Project) -> None:
    with st.form(f"guideline {project.id} {project.guideline_version}", border=True):
        st.markdown(f"**Guideline** (version {project.guideline_version})")
        words = st.text_area(
            "Markdown", project.guideline, height=170, label_visibility="collapsed"
        )
        if st.form_submit_button("Save guideline", key="save guideline"):
            with writing() as db:
                change_project(db, actor, project.name, guideline=words)
            say("done", "Guideline saved")
            st.rerun()


def _classes(actor: Actor, project: Project) -> None:
    with st.form(f"classes {project.id} {len(project.classes)}", border=True):
        listed = ", ".join(escaped(name) for name in project.classes[:20])
        more = len(project.classes) - 20
        st.markdown(f"**Classes** {listed}" + (f" and {more} more" if more > 0 else ""))
        new = st.text_input("Add a class after these", max_chars=200)
        if st.form_submit_button("Add class", key="add class"):
            with writing() as db:
                change_project(db, actor, project.name, add_classes=[new.strip()])
            say("done", f"Class {escaped(new.strip())} added")
            st.rerun()
