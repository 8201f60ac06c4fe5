"""A backup taken while the store is written to is one of its states, and can be restored."""

import shutil
import threading
from pathlib import Path

import pytest
from sqlalchemy import func, select

from crowdlearn.errors import StoreError
from crowdlearn.service.access import LOCAL
from crowdlearn.service.projects import create_project, read_project
from crowdlearn.service.votes import NewVote, append_votes
from crowdlearn.store import Store, backup, open_store, restore
from crowdlearn.store.tables import events


def test_a_backup_under_load_is_a_state_of_the_store(
    store: Store, address: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if not store.is_sqlite and shutil.which("pg_dump") is None:
        pytest.skip("needs pg_dump")
    with store.write() as db:
        create_project(db, LOCAL, "p", ["a", "b"])
    stop = threading.Event()

    def write() -> None:
        n = 0
        while not stop.is_set():
            with store.write() as db:
                append_votes(db, LOCAL, "p", [NewVote(item=f"i{n}", worker="w", label="a")])
            n += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        kept = backup(store, tmp_path / "kept")
    finally:
        stop.set()
        writer.join()
    new = str(tmp_path / "new.db")
    if not store.is_sqlite:
        from tests.services import fresh_database

        with fresh_database(request.getfixturevalue("postgresql_url")) as new:
            check(restore(kept, new))
        return
    check(restore(kept, new))
    check(open_store(new))


def check(store: Store) -> None:
    with store.read() as db:
        about = read_project(db, LOCAL, "p")
        n = db.execute(select(func.count()).select_from(events)).scalar_one()
    assert n == about.n_events == about.n_votes == about.n_items
    store.close()


def test_nothing_is_overwritten(store: Store, address: str, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("mine")
    with pytest.raises(StoreError, match="exists already"):
        backup(store, there)
    assert there.read_text() == "mine"
    if store.is_sqlite:
        kept = backup(store, tmp_path / "kept")
        with pytest.raises(StoreError, match="exists already"):
            restore(kept, address)


def test_what_is_no_backup_is_refused(tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.write_text("hello")
    with pytest.raises(StoreError, match="is no backup"):
        restore(bad, tmp_path / "new.db")
    with pytest.raises(StoreError, match="there is no such file"):
        restore(tmp_path / "none", tmp_path / "new.db")
    assert not (tmp_path / "new.db").exists()
