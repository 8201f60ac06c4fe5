"""Opening a store: SQLite in WAL mode by default, PostgreSQL by its address.

A write transaction says so at its beginning: SQLite then takes the lock at once (BEGIN IMMEDIATE)
and waits for its turn, where a reading transaction that turns to writing would be refused.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from crowdlearn.errors import StoreError

try:
    from sqlalchemy import Connection, CursorResult, Engine, create_engine, event, make_url, text
    from sqlalchemy.exc import ArgumentError, DBAPIError, InvalidatePoolError
    from sqlalchemy.pool import ConnectionPoolEntry
except ImportError as error:
    raise ImportError("the store needs SQLAlchemy: pip install 'crowdlearn[store]'") from error

from crowdlearn.store.together import Turns, begin

PATIENCE = 30.0  # seconds that a SQLite transaction waits for its turn
TRUSTED = 1.0  # seconds for which a connection to a server is taken to be there still
PRAGMAS = (
    "journal_mode=wal",
    "synchronous=full",
    "foreign_keys=on",
    f"busy_timeout={int(PATIENCE * 1000)}",
)


def now() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


@dataclass(frozen=True, eq=False)
class Store:
    """A database of projects. `read` and `write` give a connection in a transaction of its own."""

    engine: Engine
    turns: Turns = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "turns", Turns(self.engine))

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @property
    def path(self) -> Path:
        """The file of a SQLite store. Raises StoreError for PostgreSQL."""
        if not self.is_sqlite or not self.engine.url.database:
            raise StoreError(f"{self}: is no file")
        return Path(self.engine.url.database)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the store throughout."""
        with self.engine.connect() as db:
            if not self.is_sqlite:
                db = db.execution_options(isolation_level="REPEATABLE READ")
            with begin(db):
                yield db

    @contextmanager
    def write(self, *, together: bool = False, urgent: bool = False) -> Iterator[Connection]:
        """A transaction that is kept whole when the block ends, and not at all if it raises.

        `together` is for short ones: those that come at the same time share a commit. Of these,
        `urgent` ones, which a person waits for, go before the others.
        """
        # Threads of one process hand their turn on at once; SQLite would have them sleep and try.
        # PostgreSQL has as many writers as there are; sharing saves it commits all the same.
        if together:
            turn = self.turns.together(urgent=urgent)
        elif self.is_sqlite:
            turn = self.turns.alone()
        else:
            turn = self.engine.begin()
        with turn as db:
            yield db

    def close(self) -> None:
        """Close all connections; later transactions open new ones."""
        self.engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __str__(self) -> str:
        return self.engine.url.render_as_string(hide_password=True)


def connect(address: str | Path) -> Store:
    """The store at this path or URL, as it is: `open_store` also checks its schema.

    Raises StoreError for an address that no driver here knows.
    """
    url = str(address)
    if "://" not in url:
        url = f"sqlite:///{Path(url).resolve()}"
    elif url.startswith(("postgresql://", "postgres://")):
        url = "postgresql+psycopg://" + url.split("://", 1)[1]
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() not in ("sqlite", "postgresql"):
            raise StoreError(
                f"{parsed.render_as_string()}: a store is a SQLite file or a postgresql:// address"
            )
        return Store(_sqlite(url) if parsed.get_backend_name() == "sqlite" else _postgresql(url))
    except (ArgumentError, ImportError) as error:
        raise StoreError(f"the address of the store cannot be used: {error}") from error


def lock_project(db: Connection, project: int) -> None:
    """Wait for the right to append to this project; it ends with the transaction."""
    if db.dialect.name == "postgresql":
        db.execute(
            text("SELECT pg_advisory_xact_lock(:one, :project)"), {"one": 7, "project": project}
        )


def refresh_statistics(db: Connection) -> None:
    """Tell PostgreSQL's planner that tables have grown, before it notices by itself.

    SQLite's planner has been told what a grown store looks like, by a migration.
    """
    if db.dialect.name == "postgresql":
        db.execute(text("ANALYZE items, workers, events, standings"))


def new_id(made: CursorResult[Any]) -> int:
    """The id that an inserted row got."""
    key = made.inserted_primary_key
    assert key is not None, "one row was inserted"
    return int(key[0])


def _sqlite(url: str) -> Engine:
    engine = create_engine(url, connect_args={"check_same_thread": False, "timeout": PATIENCE})

    @event.listens_for(engine, "connect")
    def prepare(raw: Any, _: Any) -> None:
        raw.isolation_level = None  # `together.begin` begins transactions, and nobody else
        for pragma in PRAGMAS:
            raw.execute(f"PRAGMA {pragma}")

    return engine


def _postgresql(url: str) -> Engine:
    engine = create_engine(url, pool_size=10, max_overflow=20)

    @event.listens_for(engine, "checkin")
    def leave(raw: Any, record: ConnectionPoolEntry) -> None:
        record.info["left"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def ask_whether_alive(raw: Any, record: ConnectionPoolEntry, _: Any) -> None:
        """One that was in use a moment ago is not asked: that costs a way to the server and back.

        The pool makes new connections where an answer does not come.
        """
        if time.monotonic() - record.info.get("left", inf) <= TRUSTED:
            return
        try:
            engine.dialect.do_ping(raw)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error

    return engine


@contextmanager
def said_as_store_errors(store: Store) -> Iterator[None]:
    """Turn what the database driver says about opening into a StoreError."""
    try:
        yield
    except DBAPIError as error:
        raise StoreError(f"{store}: {str(error.orig).strip()}") from error
