"""The review app: who is there, which project, which page.

    CROWDLEARN_STORE=store.db python -m streamlit run apps/review/app.py

CROWDLEARN_STORE is the store's path or URL, CROWDLEARN_AUTH one of none (default), password, oidc,
CROWDLEARN_PROJECT the project that is opened first.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

import streamlit as st

from apps.review import figures, state, words
from apps.review.screens import (
    compare,
    items,
    progress,
    queue,
    start,
    voting,
    workers,
)
from apps.review.screens import (
    project as project_page,
)
from apps.review.signing_in import account, current_actor
from apps.review.words import escaped
from crowdlearn.errors import CrowdlearnError
from crowdlearn.service.access import RIGHTS, Actor
from crowdlearn.service.progress import read_head
from crowdlearn.service.projects import Project

ICON = "\N{BALLOT BOX WITH CHECK}"
STYLE = """
.block-container { padding: 2.6rem 2rem 2rem; max-width: 1500px; }
header[data-testid="stHeader"] { height: 2.4rem; min-height: 2.4rem; }
.st-key-payload img { max-height: 44vh; object-fit: contain; object-position: left top; }
.st-key-payload [data-testid="stText"] { font-size: 1.05rem; padding: 0.8rem 1rem;
  border-radius: 0.5rem; background: color-mix(in srgb, currentColor 5%, transparent); }
[data-testid="stSidebarUserContent"] { padding-bottom: 1rem; }
/* files come from Export, which makes formulas safe */
[data-testid="stFullScreenFrame"]:has([data-testid="stDataFrame"])
  [data-testid="stElementToolbar"] { display: none; }
[data-testid="stToastContainer"] { top: auto; bottom: 1.5rem; }
"""


def main() -> None:
    """One run of the script: everything that one session sees."""
    st.set_page_config("crowdlearn review", ICON, layout="wide")
    st.html(f"<style>{STYLE}{figures.STYLE}</style>")
    try:
        actor = current_actor()
        mine = state.projects_of(actor)
        chosen = _sidebar(actor, mine)
    except CrowdlearnError as error:
        st.error(escaped(str(error)))
        st.stop()
    pages = _pages(actor, chosen)
    page = st.navigation(list(pages.values()))
    wanted = st.session_state.pop("go", None)
    if wanted in pages and pages[wanted].url_path != page.url_path:
        st.switch_page(pages[wanted])
    page.run()


def _sidebar(actor: Actor, mine: dict[str, Project]) -> Project | None:
    """The picker and what is known of the project at a glance; the project that is chosen."""
    with st.sidebar:
        chosen = _pick(mine)
        if chosen is not None:
            with st.container(horizontal=True, gap="small"):
                st.badge(chosen.role, icon=":material/person:", color="gray")
                if chosen.simulated:
                    st.badge("SIMULATED", icon=":material/science:", color="orange")
            if chosen.role in RIGHTS["read progress"]:
                _pending(actor, chosen)
        account(actor)
    return chosen


def _pick(mine: dict[str, Project]) -> Project | None:
    if not mine:
        return None
    names = list(mine)
    wanted = st.session_state.pop("wanted project", None) or (
        None if "project" in st.session_state else _first()
    )
    if wanted in mine:
        st.session_state["project"] = wanted
    if st.session_state.get("project") not in mine:
        st.session_state["project"] = names[0]
    label = escaped(st.session_state["project"])
    with st.popover(label, icon=":material/folder_open:", width="stretch"):
        return mine[st.selectbox("Project", names, key="project", on_change=_changed)]


def _first() -> str | None:
    return st.query_params.get("project") or os.environ.get("CROWDLEARN_PROJECT")


def _changed() -> None:
    st.session_state["opened item"] = None
    st.query_params.clear()


def _pending(actor: Actor, chosen: Project) -> None:
    """How many events wait to be taken in; looks again while there are any."""
    with state.reading() as db:
        waits = read_head(db, actor, chosen.name).n_pending > 0
    st.fragment(_count_pending, run_every=1.0 if waits else None)(actor, chosen)


def _count_pending(actor: Actor, chosen: Project) -> None:
    with state.reading() as db:
        n = read_head(db, actor, chosen.name).n_pending
    if n:
        st.badge(f"{n:,} pending", icon=":material/hourglass_top:", color="blue")
    else:
        st.badge("up to date", icon=":material/check:", color="green")


def _pages(actor: Actor, chosen: Project | None) -> dict[str, st.Page]:
    role = None if chosen is None else chosen.role
    made: dict[str, st.Page] = {}

    def add(name: str, icon: str, run: Callable[[], None], *, default: bool = False) -> None:
        made[name] = st.Page(
            _named(run, name), title=name.capitalize(), icon=f":material/{icon}:",
            url_path=name, default=default,
        )  # fmt: skip

    if chosen is None:
        add("queue", "rule", partial(start.show, actor), default=True)
    else:
        first = queue.show if role in RIGHTS["answer"] else voting.show
        add("queue", "rule", _of_project(first, actor, chosen), default=True)
        for name, icon, show, right in (
            ("items", "list", items.show, "read items"),
            ("workers", "group", workers.show, "read workers"),
            ("progress", "monitoring", progress.show, "read progress"),
            ("compare", "balance", compare.show, "read fits"),
        ):
            if role in RIGHTS[right]:
                add(name, icon, _of_project(show, actor, chosen))
    if actor.owner or role in RIGHTS["export"]:
        add("project", "tune", _of_project(project_page.show, actor, chosen))
    return made


def _named(run: Callable[[], None], name: str) -> Callable[[], None]:
    """The same function under a name, by which Streamlit tells pages apart."""

    def page() -> None:
        run()

    page.__name__ = name
    return page


def _of_project(
    show: Callable[..., None], actor: Actor, chosen: Project | None
) -> Callable[[], None]:
    """A page with what every page has: what was said, the badge, and refusals in words."""

    def run() -> None:
        if chosen is not None and chosen.simulated:
            st.badge(f"SIMULATED · {words.SIMULATED}", icon=":material/science:", color="orange")
        state.show_sayings()
        try:
            show(actor, chosen)
        except CrowdlearnError as error:
            st.error(escaped(str(error)), icon=":material/error:")

    return run


main()
