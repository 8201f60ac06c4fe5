"""Workers: how reliable each is, how they err and drift, who looks alike; and who may go on."""

from __future__ import annotations

import streamlit as st

from apps.review import charts, words
from apps.review.state import guarded, reading, say, writing
from apps.review.tables import table
from apps.review.words import escaped
from crowdlearn.errors import NotFoundError
from crowdlearn.service import comparing, workers
from crowdlearn.service.access import RIGHTS, Actor
from crowdlearn.service.projects import Project
from crowdlearn.service.workers import Worker

ROWS = 25
ORDERS = {
    "most votes": ("n_votes", True), "least accurate": ("accuracy", False),
    "most accurate": ("accuracy", True), "by name": ("name", False),
}  # fmt: skip


def show(actor: Actor, project: Project) -> None:
    """The list, or the worker who is open."""
    opened = st.session_state.get("opened worker")
    if opened and opened[0] == project.id:
        _worker(actor, project, opened[1])
        return
    st.header("Workers")
    if project.n_workers == 0:
        st.info("Nobody has voted yet.")
        return
    _list(actor, project)
    _similar(actor, project)


def _list(actor: Actor, project: Project) -> None:
    left, right = st.columns([3, 1])
    search = left.text_input("Search names", key="search workers", max_chars=200).strip()
    order, descending = ORDERS[right.selectbox("Order", list(ORDERS), key="order workers")]
    asked = (project.id, search, order)
    if st.session_state.get("workers asked") != asked:
        st.session_state["workers asked"], st.session_state["workers page"] = asked, 0
    page = int(st.session_state["workers page"])
    with reading() as db:
        found = workers.list_workers(
            db, actor, project.name, order=order, descending=descending, search=search or None,
            skip=page * ROWS, limit=ROWS + 1,
        )  # fmt: skip
    _pager(page, len(found), project)
    left, right = st.columns([5, 4], gap="medium")
    with left:
        _table(found[:ROWS], page, project)
    with right:
        st.altair_chart(
            charts.accuracies(found[:ROWS]), width="stretch", alt="Accuracy of these workers"
        )


def _pager(page: int, n: int, project: Project) -> None:
    def turn(by: int) -> None:
        st.session_state["workers page"] = page + by

    with st.container(horizontal=True, vertical_alignment="center", key="pager"):
        st.markdown(f"{project.n_workers:,} workers, page {page + 1}")
        st.button(
            "Previous", key="previous workers", disabled=page == 0, on_click=turn, args=(-1,),
            icon=":material/chevron_left:",
        )  # fmt: skip
        st.button(
            "Next", key="next workers", disabled=n <= ROWS, on_click=turn, args=(1,),
            icon=":material/chevron_right:", icon_position="right",
        )  # fmt: skip
        st.caption("Tick a row to open it.")


def _table(found: list[Worker], page: int, project: Project) -> None:
    names = [worker.name for worker in found]
    rows = [
        {
            "worker": worker.name,
            "accuracy": None if worker.accuracy is None else 100 * worker.accuracy,
            "interval": words.interval(worker.low, worker.high), "votes": worker.n_votes,
            "flag": words.FLAGS[worker.flag],
        }
        for worker in found
    ]  # fmt: skip
    key = f"workers {hash((project.id, page, *names))}"
    st.dataframe(
        table(rows), hide_index=True, key=key, selection_mode="single-row",
        on_select=lambda: _open_ticked(key, names, project), height=min(38 + 35 * len(rows), 480),
        column_config={
            "accuracy": st.column_config.ProgressColumn(
                "accuracy", min_value=0, max_value=100, format="%.0f %%"
            ),
            "interval": st.column_config.TextColumn("90 % interval"),
        },
    )  # fmt: skip


def _open_ticked(key: str, names: list[str], project: Project) -> None:
    ticked = st.session_state[key]["selection"]["rows"]
    if ticked:
        st.session_state["opened worker"] = (project.id, names[ticked[0]])


def _close() -> None:
    st.session_state["opened worker"] = None


def _worker(actor: Actor, project: Project, name: str) -> None:
    st.button("All workers", key="all workers", icon=":material/arrow_back:", on_click=_close)
    try:
        with reading() as db:
            worker = workers.read_worker(db, actor, project.name, name)
            matrix = workers.confusion(db, actor, project.name, name)
            drift = workers.drift(db, actor, project.name, name)
    except NotFoundError as error:
        st.warning(escaped(str(error)))
        return
    st.subheader(escaped(name))
    places = st.columns(3)
    places[0].metric("Accuracy", words.percent(worker.accuracy))
    places[1].metric("90 % interval", words.interval(worker.low, worker.high))
    places[2].metric("Votes", f"{worker.n_votes:,}")
    if worker.flag:
        st.badge(words.FLAGS[worker.flag], color="orange")
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown("**How they err**")
        if matrix is None:
            st.caption("Not folded yet.")
        else:
            st.altair_chart(
                charts.heat_map(matrix, project.classes), width="stretch", alt="Confusion matrix"
            )
            st.caption("With few votes of a class its row leans on the prior.")
            if len(project.classes) > charts.MOST_CLASSES:
                st.caption(f"The first {charts.MOST_CLASSES} of {len(project.classes)} classes.")
    with right:
        st.markdown("**How right they were over time**")
        if len(drift.at):
            st.altair_chart(charts.drift(drift), width="stretch", alt="Accuracy over time")
            st.caption(
                "Windows of their latest votes, judged by today's posteriors; the band holds 90 %."
            )
        else:
            st.caption("Not folded yet.")
    if project.role in RIGHTS["judge workers"]:
        _judgement(actor, project, worker)


def _judgement(actor: Actor, project: Project, worker: Worker) -> None:
    with st.container(border=True):
        reason = st.text_input("Reason", key=f"reason {worker.number}", max_chars=2000)
        with st.container(horizontal=True):
            for flag, words_of in (("blocked", "Block"), ("retrain", "Retrain"), (None, "Allow")):
                st.button(
                    words_of, key=f"{words_of} {worker.name}", disabled=worker.flag == flag,
                    on_click=judge, args=(actor, project, worker.name, flag, reason),
                )  # fmt: skip
        st.caption(
            "The votes of a blocked worker no longer count, and they get no more items; "
            "Allow undoes it."
        )


@guarded
def judge(actor: Actor, project: Project, name: str, flag: str | None, reason: str) -> None:
    """Block a worker, ask for retraining, or let them work again."""
    with writing() as db:
        workers.judge_worker(db, actor, project.name, name, flag, reason=reason)
    now = {"blocked": "blocked", "retrain": "to retrain", None: "allowed"}[flag]
    say("done", f"{escaped(name)} is {now}")


def _similar(actor: Actor, project: Project) -> None:
    if project.role not in RIGHTS["compare methods"]:
        return
    with st.expander("Similar workers", icon=":material/content_copy:"):
        st.markdown(
            "Pairs who agree more often than two independent workers of their reliability would: "
            "one person with two accounts, or one who copies. A test of every pair with common "
            "items, corrected so that about 5 % of the pairs listed are expected to be innocent."
        )
        if st.button("Look for similar workers", key="similar"):
            with st.spinner("Comparing every pair of workers …"):
                with reading() as db:
                    material = comparing.gather(db, actor, project.name)
                pairs = [] if material is None else comparing.similar_workers(material)
            st.session_state["similar workers"] = (project.id, pairs)
        kept = st.session_state.get("similar workers")
        if kept and kept[0] == project.id:
            _pairs(kept[1])


def _pairs(pairs: list[comparing.TwinPair]) -> None:
    if not pairs:
        st.success("No pair of workers stands out.")
        return
    rows = [
        {
            "worker": pair.worker, "other": pair.other, "common items": pair.n_common,
            "agreed": pair.agreed, "expected": round(pair.expected, 1), "p value": pair.p_value,
        }
        for pair in pairs
    ]  # fmt: skip
    st.dataframe(
        table(rows), hide_index=True, key="pairs",
        column_config={"p value": st.column_config.NumberColumn(format="%.1e")},
    )  # fmt: skip
