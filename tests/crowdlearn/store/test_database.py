"""Transactions: whole or not at all, one writer after the other, and a log that stays."""

import threading

import pytest
from sqlalchemy import insert, select, text, update
from sqlalchemy.exc import DBAPIError

from crowdlearn.store import Store, database, open_store
from crowdlearn.store.bulk import insert_rows, update_rows
from crowdlearn.store.database import lock_project, now
from crowdlearn.store.tables import events, projects, workers


def make_project(store: Store, name: str = "p") -> int:
    with store.write() as db:
        made = db.execute(
            insert(projects).values(name=name, classes=["a", "b"], settings={}, created_at=now())
        )
        key = made.inserted_primary_key
        assert key is not None
        return int(key[0])


def test_a_transaction_that_raises_leaves_nothing(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.write() as db:
        db.execute(
            insert(projects).values(name="p", classes=["a", "b"], settings={}, created_at=now())
        )
        _ = 1 / 0
    with store.read() as db:
        assert db.execute(select(projects)).first() is None


def test_eight_threads_that_count_lose_no_step(store: Store) -> None:
    id = make_project(store)

    def count() -> None:
        for _ in range(25):
            with store.write() as db:
                lock_project(db, id)
                n = db.execute(select(projects.c.n_votes)).scalar_one()
                db.execute(update(projects).values(n_votes=n + 1))

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.read() as db:
        assert db.execute(select(projects.c.n_votes)).scalar_one() == 200


def test_a_reader_sees_one_state_throughout(store: Store) -> None:
    make_project(store)
    with store.read() as reader:
        before = reader.execute(select(projects.c.n_votes)).scalar_one()
        with store.write() as db:
            db.execute(update(projects).values(n_votes=7))
        assert reader.execute(select(projects.c.n_votes)).scalar_one() == before
    with store.read() as reader:
        assert reader.execute(select(projects.c.n_votes)).scalar_one() == 7


@pytest.mark.parametrize(
    "act", ["UPDATE events SET label = 0", "DELETE FROM events", "DELETE FROM audit"]
)
def test_the_database_itself_refuses_to_change_the_log(store: Store, act: str) -> None:
    id = make_project(store)
    with store.write() as db:
        insert_rows(db, events, ("project", "seq", "kind", "at"), [(id, 1, "note", 5)])
        db.execute(
            text("INSERT INTO audit (at, actor, action, detail) VALUES (1, 'me', 'test', '{}')")
        )
    with pytest.raises(DBAPIError, match="append-only"), store.write() as db:
        db.execute(text(act))
    with store.read() as db:
        assert db.execute(select(events.c.seq)).scalars().all() == [1]


def test_many_rows_are_inserted_and_updated(store: Store) -> None:
    id = make_project(store)
    with store.write() as db:
        columns = ("project", "number", "name", "n_votes")
        insert_rows(db, workers, columns, ((id, k, f"w{k}", 0) for k in range(5000)))
        rows = ((3 * k, id, k) for k in range(0, 5000, 2))
        update_rows(db, workers, ("project", "number"), ("n_votes",), rows)
        update_rows(db, workers, ("project", "number"), ("n_votes",), iter([(-1, id, 1)]))
    with store.read() as db:
        found = dict(db.execute(select(workers.c.number, workers.c.n_votes)).all())
    assert found == {k: -1 if k == 1 else 3 * k if k % 2 == 0 else 0 for k in range(5000)}


def test_a_connection_that_the_server_closed_is_replaced(
    fresh_postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked after a moment of rest; one in use is trusted."""
    store = open_store(fresh_postgresql, create=True)
    other = open_store(fresh_postgresql)
    asked: list[object] = []
    ask = store.engine.dialect.do_ping

    def counted(raw: object) -> bool:
        asked.append(raw)
        return ask(raw)  # type: ignore[arg-type]

    monkeypatch.setattr(store.engine.dialect, "do_ping", counted)
    for _ in range(5):
        with store.read() as db:
            pid = db.execute(text("SELECT pg_backend_pid()")).scalar_one()
    assert not asked
    with other.write() as db:
        db.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    monkeypatch.setattr(database, "TRUSTED", 0.0)
    with store.read() as db:
        assert db.execute(text("SELECT pg_backend_pid()")).scalar_one() != pid
    assert len(asked) == 1
    store.close()
    other.close()
