"""Writes that share a commit: each is kept whole or not at all, and told so truthfully."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.exc import OperationalError

from crowdlearn.errors import StoreError
from crowdlearn.service.access import LOCAL
from crowdlearn.service.projects import create_project
from crowdlearn.store import Store, open_store
from crowdlearn.store.tables import projects
from crowdlearn.store.together import MOST


def names(store: Store) -> set[str]:
    """The projects that another connection sees."""
    with store.read() as db:
        return set(db.execute(select(projects.c.name)).scalars())


def at_once(store: Store, *writes: Callable[[], None]) -> list[BaseException | None]:
    """Have these queue up behind a write, all of them before it ends; what each raised."""
    raised: list[BaseException | None] = [None] * len(writes)

    def run(place: int) -> None:
        try:
            writes[place]()
        except Exception as error:
            raised[place] = error

    threads = [threading.Thread(target=run, args=(k,)) for k in range(len(writes))]
    with store.turns._turn():
        for thread in threads:
            thread.start()
        while store.turns.n_waiting < len(threads):
            pass
    for thread in threads:
        thread.join()
    return raised


def adding(store: Store, name: str, *, fails: bool = False) -> Callable[[], None]:
    """A write that adds a project, and may fail after it."""

    def write() -> None:
        with store.write(together=True) as db:
            create_project(db, LOCAL, name, ["a", "b"])
            if fails:
                raise ValueError(name)

    return write


def counting_commits(store: Store) -> list[int]:
    """A list that grows with every commit."""
    commits: list[int] = []
    event.listen(store.engine, "commit", lambda _: commits.append(1))
    return commits


def test_writes_that_wait_share_a_commit(address: str) -> None:
    with open_store(address, create=True) as store:
        commits = counting_commits(store)
        raised = at_once(store, *(adding(store, f"p{k}") for k in range(MOST)))
        assert raised == [None] * MOST
        assert names(store) == {f"p{k}" for k in range(MOST)}
        assert len(commits) == 1 + 1  # and that of the reader


def test_one_that_fails_takes_back_its_own_work_alone(address: str) -> None:
    with open_store(address, create=True) as store:
        writes = [adding(store, f"p{k}", fails=k % 3 == 0) for k in range(9)]
        raised = at_once(store, *writes)
        assert [error is not None for error in raised] == [k % 3 == 0 for k in range(9)]
        assert names(store) == {f"p{k}" for k in range(9) if k % 3}


def test_a_commit_that_fails_is_told_to_all(tmp_path: Path) -> None:
    with open_store(tmp_path / "store.db", create=True) as store:

        def spoiled() -> None:
            with store.write(together=True) as db:
                create_project(db, LOCAL, "spoiled", ["a", "b"])
                db.connection.driver_connection.rollback()  # as SQLite does when the disk is full

        raised = at_once(store, adding(store, "p0"), spoiled, adding(store, "p1"))
        told = {name for name, error in zip(("p0", "spoiled", "p1"), raised, strict=True)
                if error is None}  # fmt: skip
        assert isinstance(raised[1], OperationalError | StoreError)
        assert isinstance(raised[0], StoreError) or raised[0] is None
        assert names(store) == told
        with pytest.raises(StoreError, match="nothing of it was kept"):
            spoiled()
        adding(store, "later")()
        assert names(store) == {*told, "later"}


def test_a_long_write_does_not_hold_up_the_short_ones_before_it(tmp_path: Path) -> None:
    with open_store(tmp_path / "store.db", create=True) as store:
        seen: list[set[str]] = []

        def long() -> None:
            with store.write() as db:
                create_project(db, LOCAL, "long", ["a", "b"])
                seen.append(names(store))

        assert at_once(store, adding(store, "p0"), long, adding(store, "p1")) == [None] * 3
        assert names(store) == {"p0", "p1", "long"}
        assert "long" not in seen[0] and store.turns._open is None


def test_who_is_waited_for_goes_first_and_others_in_their_order(tmp_path: Path) -> None:
    with open_store(tmp_path / "store.db", create=True) as store:
        order: list[str] = []

        def noting(name: str, urgent: bool) -> None:
            with store.write(together=True, urgent=urgent):
                order.append(name)

        names = ["a", "b!", "c", "d!", "e"]
        threads = [threading.Thread(target=noting, args=(n, n.endswith("!"))) for n in names]
        with store.turns._turn():
            for k, thread in enumerate(threads, 1):
                thread.start()
                while store.turns.n_waiting < k:
                    pass
        for thread in threads:
            thread.join()
        assert order == ["b!", "d!", "a", "c", "e"]


def test_nothing_is_left_open_after_a_write(address: str) -> None:
    with open_store(address, create=True) as store:
        with pytest.raises(ValueError, match="p0"):
            adding(store, "p0", fails=True)()
        assert store.turns._open is None and names(store) == set()
        with store.write() as db:
            db.execute(text("SELECT 1"))
        adding(store, "p0")()
        assert names(store) == {"p0"}
