"""Parts of a page that tell about one item: probabilities, votes, reasons, history."""

from __future__ import annotations

import streamlit as st

from apps.review import figures, words
from apps.review.words import escaped
from crowdlearn.service.projects import Project
from crowdlearn.service.views import ItemView


def label_line(view: ItemView) -> None:
    """The label as it stands, its probability, and where it is from."""
    item = view.item
    if view.decided_by is not None:
        st.markdown(f"Decided by {escaped(view.decided_by)}: **{escaped(item.label or '')}**")
    elif item.label is None:
        st.markdown("No votes yet: every class is as likely as any other.")
    else:
        sure = escaped(words.percent(item.confidence))
        st.markdown(f"Now **{escaped(item.label)}** at {sure} · {words.votes(item.n_votes)}")


def posterior_bars(view: ItemView) -> None:
    """Probability of each class."""
    st.html(figures.posterior(view.item.posterior, view.item.label))


def votes_table(view: ItemView) -> None:
    """Each vote with the reliability of who gave it, and what it weighs."""
    if not view.votes:
        st.caption("Nobody has voted on this item.")
        return
    st.html(figures.votes(view.votes))
    if view.n_votes > len(view.votes):
        st.caption(f"The first {len(view.votes):,} of {words.votes(view.n_votes)}.")


def weight_bars(view: ItemView) -> None:
    """The votes' weights as bars."""
    if view.explanation is not None and view.explanation.votes:
        st.html(figures.weights(view.explanation))


def reasons(project: Project, view: ItemView, *, queued: bool) -> None:
    """Why this label, and in the queue why this item."""
    if view.explanation is not None:
        st.markdown(f"**Why this label** {' '.join(words.why_label(view.explanation))}")
    if queued:
        st.markdown(f"**Why this item** {words.why_item(project.settings.strategy, view.item)}")


def history(view: ItemView) -> None:
    """What was said of the item beside votes."""
    if not view.history:
        st.caption("No decisions or notes yet.")
    for event in view.history:
        st.markdown(words.said(event))


def guideline(project: Project) -> None:
    """The project's guideline, which its admin has written in Markdown."""
    with st.popover("Guideline", icon=":material/menu_book:"):
        if project.guideline.strip():
            st.markdown(project.guideline)
            st.caption(f"Version {project.guideline_version}")
        else:
            st.caption("This project has no guideline.")
