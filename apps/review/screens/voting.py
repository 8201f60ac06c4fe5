"""Queue of an annotator: the item, the guideline, the classes; nothing that others have said."""

from __future__ import annotations

import streamlit as st

from apps.review import about_item, desk
from apps.review.class_buttons import class_buttons
from apps.review.payloads import show_payload
from apps.review.state import guarded, say, writing
from apps.review.words import escaped
from crowdlearn.errors import ConflictError
from crowdlearn.service.access import Actor
from crowdlearn.service.answers import skip
from crowdlearn.service.projects import Project
from crowdlearn.service.votes import NewVote, append_votes, worker_name

PURPOSE = "vote"


def show(actor: Actor, project: Project) -> None:
    """The item to vote on, or that nothing is left."""
    loan = desk.lent(actor, project, PURPOSE)
    if loan is None:
        st.success("Nothing is left for you to judge now. Thank you!", icon=":material/done_all:")
        st.button("Look again", key="look again", icon=":material/refresh:")
        return
    left, right = st.columns([5, 4], gap="medium")
    with left:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{escaped(loan.item.name)}**")
            about_item.guideline(project)
        show_payload(actor, project, loan.item)
    with right:
        st.markdown("Your judgement")
        name, token = loan.item.name, loan.token
        class_buttons(project, name, token, None, vote, actor, project, name, token)
        st.button(
            "Skip", key=f"skip {name} {token}", shortcut="s", on_click=pass_over,
            args=(actor, project, name, token),
            help="Leave it to others; it comes back to you at the end",
        )  # fmt: skip
    desk.seen()


@guarded
def vote(actor: Actor, project: Project, name: str, token: str, label: str) -> None:
    """Vote on an item, and take the next one."""
    if not desk.is_meant(project, PURPOSE, name, token):
        return
    mine = NewVote(item=name, worker=worker_name(actor), label=label, key=f"vote {token}")
    try:
        with writing() as db:
            append_votes(db, actor, project.name, [mine], token=token)
            desk.take_next(db, actor, project, PURPOSE)
    except ConflictError as error:
        desk.put(project, None)
        say("warning", f"Not kept: {escaped(str(error))}. Here is the next.")
        return
    say("done", f"{escaped(name)}: {escaped(label)}")


@guarded
def pass_over(actor: Actor, project: Project, name: str, token: str) -> None:
    """Leave an item to others, and take the next one."""
    if desk.is_meant(project, PURPOSE, name, token):
        with writing() as db:
            skip(db, actor, project.name, name)
            desk.take_next(db, actor, project, PURPOSE)
        say("done", f"{escaped(name)}: skipped")
