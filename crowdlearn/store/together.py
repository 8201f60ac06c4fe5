"""Short writes that come at the same time are kept by one commit: one wait for the disk for all.

A write waits for its turn, does its work behind a savepoint of a transaction that is open already,
hands the turn on, and returns when that transaction is committed: who comes last commits for all.
One that raises takes back its own work alone; the first has no work of others before it, and needs
no savepoint for that. If the commit fails, all are told so.

Turns are taken in the order of asking, but those that a person waits for go first.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, RootTransaction

from crowdlearn.errors import StoreError

MOST = 4  # writes in one commit: the first of them waits for the last


@dataclass(eq=False)
class Group:
    """A transaction that several writes share."""

    db: Connection
    transaction: RootTransaction
    size: int = 0
    ended: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None


class Turns:
    """Hands the right to write from thread to thread."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._lock = threading.Lock()  # of the three below
        self._taken = False
        self._urgent: deque[threading.Lock] = deque()  # those who wait, each on a lock of its own
        self._others: deque[threading.Lock] = deque()
        self._open: Group | None = None  # only looked at by the one who has the turn

    @property
    def n_waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._urgent) + len(self._others)

    @contextmanager
    def alone(self) -> Iterator[Connection]:
        """A transaction of its own, for writes that take long."""
        with self._turn():
            self._end()
            with self.engine.connect() as db, begin(db, write=True):
                yield db

    @contextmanager
    def together(self, *, urgent: bool = False) -> Iterator[Connection]:
        """A part of a transaction that others may share; it is kept when the block has ended."""
        with self._turn(urgent):
            group = self._open = self._open or self._begun()
            group.size += 1
            done, first = False, group.size == 1
            try:
                with nullcontext() if first else group.db.begin_nested():
                    yield group.db
                done = True
            finally:
                # What failed may have taken the whole transaction with it: let nobody go on in it.
                if not done or not self.n_waiting or group.size >= MOST:
                    self._end(keep=done or not first)
        group.ended.wait()
        if group.error is not None:
            raise group.error

    @contextmanager
    def _turn(self, urgent: bool = False) -> Iterator[None]:
        self._take(self._urgent if urgent else self._others)
        try:
            yield
        finally:
            self._hand_on()

    def _take(self, queue: deque[threading.Lock]) -> None:
        with self._lock:
            if not self._taken:
                self._taken = True
                return
            mine = threading.Lock()
            mine.acquire()
            queue.append(mine)
        try:
            mine.acquire()
        except BaseException:  # Ctrl-C while waiting: nobody may hand the turn to us
            with self._lock:
                waits = mine in queue
                if waits:
                    queue.remove(mine)
            if not waits:
                self._hand_on()
            raise

    def _hand_on(self) -> None:
        with self._lock:
            queue = self._urgent or self._others
            if queue:
                queue.popleft().release()
            else:
                self._taken = False

    def _begun(self) -> Group:
        db = self.engine.connect()
        try:
            return Group(db, begin(db, write=True))
        except BaseException:
            db.close()
            raise

    def _end(self, *, keep: bool = True) -> None:
        """Commit what is open, if anything is (or take it back), and tell those who wait for it."""
        group, self._open = self._open, None
        if group is None:
            return
        try:
            if not keep:
                group.transaction.rollback()
                return
            if _was_lost(group.db):
                raise StoreError("the database gave a transaction up: nothing of it was kept")
            group.transaction.commit()
        except BaseException as error:
            group.error = error
        finally:
            group.db.close()
            group.ended.set()


def begin(db: Connection, *, write: bool = False) -> RootTransaction:
    """Begin a transaction. SQLite takes the lock of one that will write at once.

    Here and not in a listener of the engine: SQLAlchemy asks for listeners at every statement.
    """
    transaction = db.begin()
    if db.dialect.name == "sqlite":
        db.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
    return transaction


def _was_lost(db: Connection) -> bool:
    """Whether SQLite has rolled back by itself, as it does where the disk is full.

    Its driver would then take a commit for done.
    """
    if db.dialect.name != "sqlite":
        return False
    driver: Any = db.connection.driver_connection
    return not driver.in_transaction
