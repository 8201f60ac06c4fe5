"""Bringing a store's schema to the version that this package reads."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect

from crowdlearn.errors import StoreError
from crowdlearn.store.database import Store, connect, said_as_store_errors

try:
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory
except ImportError as error:
    raise ImportError("the store needs Alembic: pip install 'crowdlearn[store]'") from error

FOLDER = Path(__file__).parent / "migrations"


def open_store(address: str | Path, *, create: bool = False) -> Store:
    """The store at this path or URL, which must be of this version.

    `create` makes a new one where there is none (on PostgreSQL: where the database has no tables).
    Raises StoreError where there is no store, or its schema is older or newer than this package's.
    """
    store = connect(address)
    if store.is_sqlite and not create and not store.path.exists():
        raise StoreError(f"{store.path}: there is no store; make one with `crowdlearn store init`")
    try:
        with said_as_store_errors(store):
            found, wanted = version(store), head()
            if found is None and create:
                upgrade(store)
            elif found != wanted:
                raise StoreError(_advice(store, found, wanted))
    except StoreError:
        store.close()
        raise
    return store


def upgrade(store: Store, revision: str = "head") -> None:
    """Bring the schema to this revision, all or nothing. A newer schema is refused."""
    with store.write() as db:
        found = _version(db)
        if found is not None and found not in _known():
            raise StoreError(_advice(store, found, head()))
        command.upgrade(_config(db), revision)
    store.close()  # connections that are open know the old schema and its statistics


def version(store: Store) -> str | None:
    """The revision of the schema; None where there are no tables yet. Raises StoreError for a
    database that holds something else."""
    with store.read() as db:
        found = _version(db)
        if found is None and (tables := inspect(db).get_table_names()):
            raise StoreError(f"{store}: is no store of crowdlearn: it has the table {tables[0]!r}")
    return found


def head() -> str:
    """The revision that this package reads."""
    return _known()[0]


def differences(store: Store) -> list[object]:
    """What the schema lacks of `tables.py`, or has too much; empty where they are one."""
    from alembic.autogenerate import compare_metadata

    from crowdlearn.store.tables import metadata

    with store.read() as db:
        return list(compare_metadata(MigrationContext.configure(db), metadata))


def _version(db: Connection) -> str | None:
    return MigrationContext.configure(db).get_current_revision()


def _known() -> list[str]:
    """All revisions, the newest first."""
    script = ScriptDirectory(str(FOLDER))
    return [step.revision for step in script.walk_revisions()]


def _config(db: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = db
    return config


def _advice(store: Store, found: str | None, wanted: str) -> str:
    if found is None:
        return f"{store}: is an empty database; make a store with `crowdlearn store init`"
    if found in _known():
        return (
            f"{store}: has schema {found}, this version reads {wanted}: make a backup, then "
            "`crowdlearn store upgrade`"
        )
    return (
        f"{store}: has schema {found}, which is newer than this version of crowdlearn: upgrade it"
    )
