"""A store of any version so far becomes one of this version, with all that was in it."""

from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from crowdlearn.errors import StoreError
from crowdlearn.store import Store, open_store, upgrade
from crowdlearn.store.database import connect
from crowdlearn.store.migrate import differences, head, version

FIRST = "0001"


def test_the_migrations_lead_to_the_tables_of_the_code(store: Store) -> None:
    assert version(store) == head()
    assert differences(store) == []


def test_a_store_of_the_first_schema_keeps_all_it_has(address: str) -> None:
    old = connect(address)
    upgrade(old, FIRST)
    with old.write() as db:
        db.execute(
            text(
                "INSERT INTO projects (id, name, classes, guideline, guideline_version, settings, "
                "simulated, n_items, n_workers, n_events, n_votes, n_answers, created_at) VALUES "
                "(1, 'old', '[\"a\", \"b\"]', '', 0, '{}', :no, 1, 1, 1, 1, 0, 5)"
            ),
            {"no": False},
        )
        db.execute(text("INSERT INTO events (project, seq, kind, item, worker, label, at) VALUES "
                        "(1, 1, 'vote', 0, 0, 1, 6)"))  # fmt: skip
    with pytest.raises(StoreError, match=r"schema 0001, this version reads .*store upgrade"):
        open_store(address)
    upgrade(old)
    old.close()
    with open_store(address) as store, store.read() as db:
        assert db.execute(text("SELECT name FROM projects")).scalar_one() == "old"
        assert db.execute(text("SELECT label FROM events")).scalar_one() == 1


def test_every_step_can_be_taken_back(address: str) -> None:
    from alembic import command

    from crowdlearn.store.migrate import _config

    store = open_store(address, create=True)
    with store.write() as db:
        command.downgrade(_config(db), "base")
    left = inspect(store.engine).get_table_names()
    assert [name for name in left if name != "alembic_version"] == []
    upgrade(store)
    assert differences(store) == []
    store.close()


def test_a_newer_schema_is_refused(store: Store, address: str) -> None:
    with store.write() as db:
        db.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="9999, which is newer"):
        open_store(address)
    with pytest.raises(StoreError, match="9999, which is newer"):
        upgrade(store)


def test_a_foreign_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as db:
        db.execute(text("CREATE TABLE theirs (x INTEGER)"))
    engine.dispose()
    with pytest.raises(StoreError, match="no store of crowdlearn: it has the table 'theirs'"):
        open_store(path, create=True)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("mysql://host/db", "a store is a SQLite file or a postgresql:// address"),
        ("no/such/folder/x.db", "there is no store"),
        ("postgresql://127.0.0.1:1/db", "postgresql"),
    ],
)
def test_an_address_without_a_store_is_refused(address: str, said: str) -> None:
    with pytest.raises(StoreError, match=said):
        open_store(address)


def test_a_password_is_never_shown() -> None:
    with pytest.raises(StoreError) as caught:
        open_store("postgresql://me:secret@127.0.0.1:1/db")
    assert "secret" not in str(caught.value)
