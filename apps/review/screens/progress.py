"""Progress: how wrong the labels are expected to be, what they cost, and whether to stop."""

from __future__ import annotations

import streamlit as st

from apps.review import charts, words
from apps.review.state import reading
from apps.review.words import escaped
from crowdlearn.service import progress
from crowdlearn.service.access import Actor
from crowdlearn.service.progress import Progress
from crowdlearn.service.projects import Project

SMALL = 2000  # items up to which agreement is computed without being asked for


def show(actor: Actor, project: Project) -> None:
    """Where the project stands, and how it came there."""
    st.header("Progress")
    with reading() as db:
        found = progress.read_progress(db, actor, project.name)
        points = progress.curve(db, actor, project.name)
    if found.n_items == 0:
        st.info("This project has no items yet.")
        return
    _banner(found)
    _figures(found)
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown("**Expected error over time**")
        if points:
            st.altair_chart(
                charts.over_time(points, "expected_error", "expected error"), width="stretch",
                alt="Expected error over time",
            )  # fmt: skip
        st.markdown("**Cost over time**")
        if points:
            st.altair_chart(
                charts.over_time(points, "cost", "cost"), width="stretch", alt="Cost over time"
            )
    with right:
        st.markdown("**Items by class**")
        st.altair_chart(charts.by_class(found.classes), width="stretch", alt="Items by class")
        _agreement(actor, project)


def _banner(found: Progress) -> None:
    target = escaped(words.percent(found.target, 1))
    if found.n_votes == 0:
        st.info("There are no votes yet.")
    elif found.reached:
        st.success(
            f"The target is reached: the expected error is at most {target}. You can stop here.",
            icon=":material/flag:",
        )
    else:
        st.info(
            f"Not there yet: the target is an expected error of {target}. "
            f"{words.items(found.n_stopped)} need no more votes.",
            icon=":material/trending_down:",
        )


def _figures(found: Progress) -> None:
    places = st.columns(4)
    places[0].metric("Expected error", words.percent(found.expected_error, 2))
    places[1].metric("Cost", f"{found.cost:,.0f}")
    places[2].metric("Votes", f"{found.n_votes:,}")
    places[3].metric(
        "Votes saved", f"{found.votes_saved:,}",
        help="Votes that the redundancy still asks for on items that are sure enough to stop",
    )  # fmt: skip
    places = st.columns(4)
    places[0].metric("Open", f"{found.n_open:,}")
    places[1].metric("Answered", f"{found.n_answered:,}")
    places[2].metric("Accepted", f"{found.n_accepted:,}")
    places[3].metric("Flagged", f"{found.n_flagged:,}")
    decided = found.n_answered + found.n_accepted
    st.progress(decided / found.n_items, f"{decided:,} of {words.items(found.n_items)} decided")


def _agreement(actor: Actor, project: Project) -> None:
    st.markdown("**Agreement of workers**")
    large = project.n_items > SMALL
    if large and not st.button("Compute agreement", key="agreement"):
        return
    with st.spinner("Resampling items …"), reading() as db:
        found = progress.agreement(db, actor, project.name)
    if found is None:
        st.caption("No item has two votes.")
        return
    left, right = st.columns(2)
    left.metric("Krippendorff's alpha", f"{found.alpha:.3f}")
    right.metric("Percent agreement", words.percent(found.percent, 1))
    st.caption(
        f"95 % interval of alpha: {found.low:.3f} to {found.high:.3f}, "
        f"from {words.items(found.n_items)} with two votes or more."
    )
