"""The estimates are a fold over the log: rebuilt from it to the bit, and equal to a batch fit."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sqlalchemy import select, text

from crowdlearn.aggregators import aggregator
from crowdlearn.experts import entropy
from crowdlearn.service import fold
from crowdlearn.service.access import LOCAL
from crowdlearn.service.answers import accept, answer, undo
from crowdlearn.service.folder import Folder, rebuilt
from crowdlearn.service.items import list_items
from crowdlearn.service.new_items import NewItem, add_items
from crowdlearn.service.projects import change_project, create_project
from crowdlearn.service.verifying import verify
from crowdlearn.service.votes import NewVote, append_votes
from crowdlearn.service.workers import judge_worker, list_workers
from crowdlearn.store import Store, open_store
from crowdlearn.store.tables import folds, standings
from tests.crowdlearn.service.conftest import Desk

METHODS = ("bcc", "idbla")


def posterior(desk: Desk) -> np.ndarray:
    """What the store holds, in the order of the items."""
    with desk.store.read() as db:
        rows = db.execute(select(standings.c.posterior).order_by(standings.c.item)).scalars()
        return np.stack([np.frombuffer(row) for row in rows])


def problems(store: Store, project: str = "p") -> tuple[str, ...]:
    with store.read() as db:
        return verify(db, LOCAL, project).problems


@pytest.mark.parametrize("method", METHODS)
def test_the_standings_are_those_of_a_batch_fit(desk: Desk, method: str) -> None:
    with desk.store.write() as db:
        change_project(db, LOCAL, "p", settings={"method": method})
    desk.fold()
    expected = aggregator(method, max_sweeps=1000, tolerance=1e-8).fit(desk.votes).posterior
    assert_allclose(posterior(desk), expected, atol=2e-3)


def test_an_answer_clamps_its_item_and_moves_the_others(desk: Desk) -> None:
    desk.fold()
    before = posterior(desk)
    gold = np.full(desk.votes.n_items, -1)
    for item in range(0, 30):
        gold[item] = desk.truth[item]
        with desk.store.write() as db:
            answer(db, LOCAL, "p", str(item), str(desk.truth[item]))
    desk.fold()
    after = posterior(desk)
    fit = aggregator("bcc", max_sweeps=1000, tolerance=1e-8).fit(desk.votes, gold=gold)
    assert_allclose(after, fit.posterior, atol=2e-3)
    assert_allclose(after[:30], np.eye(3)[desk.truth[:30]])
    assert np.abs(after[30:] - before[30:]).max() > 1e-3


def test_undoing_every_answer_leads_back(desk: Desk) -> None:
    desk.fold()
    before = posterior(desk)
    for item in range(5):
        with desk.store.write() as db:
            answer(db, LOCAL, "p", str(item), "0")
    desk.fold()
    for _ in range(5):
        with desk.store.write() as db:
            undo(db, LOCAL, "p")
    desk.fold()
    assert_allclose(posterior(desk), before, atol=1e-4)
    assert problems(desk.store) == ()


def test_a_blocked_worker_is_as_if_they_had_never_voted(desk: Desk) -> None:
    with desk.store.write() as db:
        judge_worker(db, LOCAL, "p", "3", "blocked", reason="guesses")
    desk.fold()
    keep = np.arange(desk.votes.n_workers) != 3
    left = desk.votes.only_workers(keep)
    fit = aggregator("bcc", max_sweeps=1000, tolerance=1e-8).fit(left)
    voted = left.votes_per_item > 0
    with desk.store.read() as db:
        rows = db.execute(select(standings).order_by(standings.c.item)).all()
    found = np.stack(
        [np.frombuffer(row.posterior) if row.posterior else np.full(3, 1 / 3) for row in rows]
    )
    assert_allclose(found[voted], fit.posterior[voted], atol=2e-3)
    assert all(row.top is None for row, has in zip(rows, voted, strict=True) if not has)
    assert problems(desk.store) == ()
    with desk.store.write() as db:
        judge_worker(db, LOCAL, "p", "3", None)
    desk.fold()
    expected = aggregator("bcc", max_sweeps=1000, tolerance=1e-8).fit(desk.votes).posterior
    assert_allclose(posterior(desk), expected, atol=2e-3)


def test_an_accepted_label_teaches_nothing(desk: Desk) -> None:
    desk.fold()
    before = posterior(desk)
    with desk.store.write() as db:
        assert accept(db, LOCAL, "p", 0.9) > 0
    desk.fold()
    assert_allclose(posterior(desk), before, atol=1e-4)
    assert problems(desk.store) == ()


def test_an_answer_may_come_before_any_vote(desk: Desk) -> None:
    with desk.store.write() as db:
        add_items(db, LOCAL, "p", [NewItem(name="new")])
        answer(db, LOCAL, "p", "new", "2")
    desk.fold()
    assert_allclose(posterior(desk)[-1], [0, 0, 1])
    with desk.store.write() as db:
        append_votes(db, LOCAL, "p", [NewVote(item="new", worker="0", label="1")])
    desk.fold()
    assert_allclose(posterior(desk)[-1], [0, 0, 1])
    with desk.store.write() as db:
        undo(db, LOCAL, "p")
    desk.fold()
    assert posterior(desk)[-1].argmax() == 1
    assert problems(desk.store) == ()


def test_a_new_class_and_another_method_start_anew(desk: Desk) -> None:
    desk.fold()
    with desk.store.write() as db:
        change_project(db, LOCAL, "p", settings={"method": "idbla"}, add_classes=["3"])
        append_votes(db, LOCAL, "p", [NewVote(item="0", worker="0", label="3")])
    desk.fold()
    assert posterior(desk).shape == (120, 4)
    assert problems(desk.store) == ()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("vote"), st.integers(0, 14), st.integers(0, 4), st.integers(0, 2)),
        st.tuples(st.just("answer"), st.integers(0, 14), st.integers(0, 2)),
        st.tuples(st.just("accept"), st.floats(0.4, 1)),
        st.tuples(st.just("undo")),
        st.tuples(st.just("block"), st.integers(0, 4)),
        st.tuples(st.just("unblock"), st.integers(0, 4)),
        st.tuples(st.just("class")),
        st.tuples(st.just("fold")),
        st.tuples(st.just("settle")),
        st.tuples(st.just("restart")),
    ),
    max_size=40,
)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_any_log_cut_anywhere_is_rebuilt_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory, method: str, steps: list[tuple]
) -> None:
    store = open_store(Path(tmp_path_factory.mktemp("s")) / "s.db", create=True)
    with store.write() as db:
        create_project(db, LOCAL, "p", ["0", "1", "2"], settings={"method": method})
    folder = Folder(store)
    for step in steps:
        folder = act(store, folder, step)
    folder.catch_up(1)
    running = folder.digest(1)
    with store.read() as db:
        assert verify(db, LOCAL, "p").problems == ()
        if steps:
            assert fold.digest(rebuilt(db, 1)) == fold.digest(rebuilt(db, 1, from_snapshot=True))
        if running is not None:
            assert running == fold.digest(rebuilt(db, 1))
    folder.close()
    store.close()


def act(store: Store, folder: Folder, step: tuple) -> Folder:
    """One thing that may happen to a project."""
    from crowdlearn.errors import ServiceError

    kind, *what = step
    if kind == "fold":
        folder.catch_up(1)
    elif kind == "settle":
        folder.catch_up(1, settle=True)
    elif kind == "restart":
        folder.close()
        folder = Folder(store)
        folder.catch_up(1)
    else:
        try:
            with store.write() as db:
                if kind == "vote":
                    new = NewVote(item=f"i{what[0]}", worker=f"w{what[1]}", label=str(what[2]))
                    append_votes(db, LOCAL, "p", [new])
                elif kind == "answer":
                    answer(db, LOCAL, "p", f"i{what[0]}", str(what[1]))
                elif kind == "accept":
                    accept(db, LOCAL, "p", what[0])
                elif kind == "undo":
                    undo(db, LOCAL, "p")
                elif kind == "class":
                    change_project(db, LOCAL, "p", add_classes=["3"])
                else:
                    flag = "blocked" if kind == "block" else None
                    judge_worker(db, LOCAL, "p", f"w{what[0]}", flag)
        except (ServiceError, ValueError):
            pass  # there is no such item, worker or decision yet
    return folder


def test_only_one_process_folds_a_project(desk: Desk) -> None:
    desk.fold()
    other = Folder(desk.store)
    with desk.store.write() as db:
        append_votes(db, LOCAL, "p", [NewVote(item="0", worker="0", label="0")])
    n = n_folds(desk)
    other.catch_up(desk.number)
    assert n_folds(desk) == n
    desk.folder.close()  # gives the project back
    other.catch_up(desk.number)
    assert n_folds(desk) > n
    other.close()
    assert problems(desk.store) == ()


def n_folds(desk: Desk) -> int:
    with desk.store.read() as db:
        return len(db.execute(select(folds)).all())


def test_who_is_overtaken_keeps_nothing_and_catches_up(desk: Desk) -> None:
    desk.fold()
    with desk.store.write() as db:
        append_votes(db, LOCAL, "p", [NewVote(item="0", worker="0", label="0")])
        db.execute(text("UPDATE folding SET owner = 'somebody 1 elsewhere', until = 0"))
    other = Folder(desk.store)
    other.catch_up(desk.number)
    with desk.store.write() as db:
        append_votes(db, LOCAL, "p", [NewVote(item="1", worker="0", label="0")])
    desk.folder.catch_up(desk.number)  # does not have the lease
    other.close()
    desk.folder.catch_up(desk.number)
    assert problems(desk.store) == ()
    with desk.store.read() as db:
        assert desk.folder.digest(desk.number) == fold.digest(rebuilt(db, desk.number))


@pytest.mark.parametrize("half", ["write_standings", "write_workers"])
def test_what_a_crash_left_half_written_is_completed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, half: str
) -> None:
    monkeypatch.setattr("crowdlearn.service.folder.PIECE", 3)
    monkeypatch.setattr("crowdlearn.service.folder.TOGETHER", 0)

    class Crash(Exception):
        pass

    written = []

    def few(*rows: object) -> None:
        written.append(rows)
        if len(written) > 2:
            raise Crash
        real(*rows)  # type: ignore[arg-type]

    from crowdlearn.service import folder as module

    real = getattr(module, half)
    monkeypatch.setattr(module, half, few)
    with pytest.raises(Crash):
        desk.fold()
    monkeypatch.setattr(module, half, real)
    with desk.store.write() as db:
        db.execute(text("UPDATE folding SET until = 0"))
        append_votes(db, LOCAL, "p", [NewVote(item="0", worker="0", label="0")])
    after = Folder(desk.store)
    after.catch_up(desk.number)
    assert problems(desk.store) == ()
    after.close()


@pytest.mark.parametrize("tampering, said", [
    ("UPDATE standings SET n_votes = n_votes + 1 WHERE item = 3", "item 3: "),
    ("UPDATE standings SET decision_seq = 1 WHERE item = 3", "item 3: its decision"),
    ("UPDATE projects SET n_answers = n_answers + 1", "0 items are answered, where the project"),
])  # fmt: skip
def test_verify_finds_what_was_tampered_with(desk: Desk, tampering: str, said: str) -> None:
    desk.fold()
    with desk.store.write() as db:
        db.execute(text(tampering))
    assert said in problems(desk.store)[0]


def test_the_thread_folds_what_comes_and_settles_it(desk: Desk) -> None:
    desk.folder.start()
    try:
        with desk.store.write() as db:
            append_votes(db, LOCAL, "p", [NewVote(item="x", worker="0", label="0")])
        desk.folder.wake()
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with desk.store.read() as db:
                kinds = db.execute(select(folds.c.kind)).scalars().all()
            if "rescore" in kinds or len(kinds) == 1:
                break
            time.sleep(0.05)
        assert desk.folder.alive
    finally:
        desk.folder.close()
    assert not desk.folder.alive
    assert problems(desk.store) == ()


def test_the_accuracy_of_workers_is_found(desk: Desk) -> None:
    desk.fold()
    with desk.store.read() as db:
        found = list_workers(db, LOCAL, "p", order="name", descending=False)
        page, _ = list_items(db, LOCAL, "p", order="urgency")
    votes, truth = desk.votes, desk.truth
    for worker in found:
        mine = votes.worker == int(worker.name)
        share = (votes.label[mine] == truth[votes.item[mine]]).mean()
        assert worker.n_votes == mine.sum()
        assert worker.low is not None and worker.high is not None
        assert worker.low - 0.12 < share < worker.high + 0.12
    shares = np.array([list(item.posterior.values()) for item in page])
    doubts = entropy(shares)
    assert (np.diff(doubts) <= 1e-12).all()


def test_what_a_process_left_unsettled_the_next_one_settles(desk: Desk) -> None:
    desk.fold()
    with desk.store.write() as db:
        append_votes(db, LOCAL, "p", [NewVote(item="0", worker="0", label="0")])
    held = desk.folder.held[desk.number]
    held.settled_at = time.monotonic() + 100  # settling is not due
    desk.folder.catch_up(desk.number)
    with desk.store.read() as db:
        kinds = db.execute(select(folds.c.kind).order_by(folds.c.number)).scalars().all()
    assert kinds[-1] == "update"
    desk.folder.close()
    after = Folder(desk.store)
    after.catch_up(desk.number)
    with desk.store.read() as db:
        kinds = db.execute(select(folds.c.kind).order_by(folds.c.number)).scalars().all()
    assert kinds[-1] == "rescore"
    after.close()
    assert problems(desk.store) == ()


def test_a_restart_now_and_then_keeps_the_way_back_short(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crowdlearn.service.folder.MOST_FOLDS", 4)
    for n in range(10):
        with desk.store.write() as db:
            append_votes(db, LOCAL, "p", [NewVote(item=str(n), worker="0", label="0")])
        desk.folder.catch_up(desk.number)
        desk.folder.held[desk.number].settled_at = -1e9
    with desk.store.read() as db:
        kinds = db.execute(select(folds.c.kind).order_by(folds.c.number)).scalars().all()
    assert kinds.count("restart") >= 3
    assert problems(desk.store) == ()
