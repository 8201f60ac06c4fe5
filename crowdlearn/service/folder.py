"""The one background worker that folds every project's log, and writes what pages and clients read.

Only one process folds a project at a time: it holds a lease on it, and a fold is kept only if it is
the next one by number. Readers see the standings of the last fold and never wait for one. Where a
fold changes much, standings and workers follow in pieces; `written` says that all are there.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, bindparam, func, insert, select, update

from crowdlearn.service import fold
from crowdlearn.service.log import (
    answered_items,
    blocked_workers,
    decisions,
    gold,
    other_events,
    read_votes,
)
from crowdlearn.service.outcomes import (
    head_figures,
    standing_rows,
    worker_rows,
    write_head,
    write_standings,
    write_workers,
)
from crowdlearn.service.projects import Project, by_id
from crowdlearn.store.bulk import chunks
from crowdlearn.store.database import Store, now
from crowdlearn.store.tables import fits, folding, folds, projects

LEASE = 15_000_000  # microseconds that a project is held without a sign of life
RENEWED = 5_000_000  # of a lease that are left when it is renewed, if no fold has done so
AT_ONCE = 50_000  # events in one update
MANY = 10_000  # votes that are worth a restart where they double the project
FEW, FIGURES_EVERY = 20_000, 2.0  # items, and seconds between figures over more than those
PIECE = 250  # standings or workers in one transaction
TOGETHER = 500  # with the fold itself
SETTLED_SHARE = 20  # a rescore may take this part of the time
REST = 0.5  # seconds between two rescores at least
LOOK = 0.2  # seconds between two looks at the log
PACE = 0.4  # seconds between two folds of a project, so that each takes in what has gathered
MOST_FOLDS = 1000  # between two restarts
SNAPSHOT_EVERY = 60.0  # seconds
LARGEST_SNAPSHOT = 1 << 26  # bytes; a larger stream is rebuilt from the log
RESTARTING = ("block", "unblock", "setting")

logger = logging.getLogger(__name__)


class Overtaken(Exception):
    """Another process has folded this project meanwhile."""


@dataclass(eq=False)
class Held:
    """A project that this process folds."""

    running: fold.Running | None = None
    until: int = 0  # the end of the lease
    looked: bool = False  # whether an earlier process left something to do
    changed: bool = False  # since all items were settled together
    restarted: int = 0  # number of the last fold that began anew
    settled_at: float = -1e9
    settle_took: float = 0.0
    figured_at: float = -1e9
    saved_at: float = -1e9
    saved_number: int = -1


class Folder:
    """Folds the logs of a store: in a thread of its own (`start`), or now (`catch_up`)."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.owner = f"{secrets.token_hex(8)} {os.getpid()} {socket.gethostname()}"[:100]
        self.held: dict[int, Held] = {}
        self.failed: dict[int, float] = {}
        self._lock = threading.Lock()
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Fold in the background until `close`."""
        self._thread = threading.Thread(target=self._run, name="folder", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Look at the log now: something was appended."""
        self._wake.set()

    @property
    def alive(self) -> bool:
        """Whether the background thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def close(self) -> None:
        """Finish the fold at hand, keep snapshots, give the projects back."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            for project, held in self.held.items():
                self._keep_snapshot(project, held)
            with self.store.write() as db:
                db.execute(
                    update(folding).where(folding.c.owner == self.owner).values(owner=None, until=0)
                )
            self.held.clear()

    def catch_up(self, project: int, *, settle: bool = False) -> None:
        """Fold all that is in the log now; `settle` also settles all items together."""
        with self._lock:
            while self._step(project):
                pass
            held = self.held.get(project)
            if settle and held is not None and held.running is not None and held.changed:
                self._fold(project, held, "rescore", held.running.upto)

    def digest(self, project: int) -> str | None:
        """The digest of the running state; None where this process does not fold the project."""
        with self._lock:
            held = self.held.get(project)
            return None if held is None or held.running is None else fold.digest(held.running)

    def _run(self) -> None:
        while not self._stop.is_set():
            busy = False
            for project in self._projects():
                if self._stop.is_set():
                    return
                busy |= self._try_step(project)
            if not busy:
                self._wake.wait(LOOK)
            elif not self._stop.is_set():
                self._stop.wait(PACE)
            self._wake.clear()

    def _projects(self) -> list[int]:
        try:
            with self.store.read() as db:
                return list(db.execute(select(projects.c.id).order_by(projects.c.id)).scalars())
        except Exception:
            logger.exception("the store cannot be read")
            time.sleep(1)
            return []

    def _try_step(self, project: int) -> bool:
        """One step; what goes wrong is logged, and the project tried again after a while."""
        if self.failed.get(project, 0) > time.monotonic():
            return False
        try:
            with self._lock:
                return self._step(project)
        except Exception:
            logger.exception("project %s cannot be folded now; again in 5 seconds", project)
            self.held.pop(project, None)
            self.failed[project] = time.monotonic() + 5
            return False

    def _step(self, project: int) -> bool:
        """Do what is most due for this project; False where nothing is."""
        with self.store.read() as db:
            head = db.execute(_HEAD, {"here": project}).one()
        held, n_events = self.held.setdefault(project, Held()), head.n_events
        pending = n_events - head.upto
        stale = held.running is None or held.running.number != head.number
        if stale and head.number > 0 and not pending and not held.looked:
            held.looked = True
            pending = self._is_unfinished(project, head.number)
        if not pending and (stale or not self._settling_is_due(held)) and head.number > 0:
            if held.running is not None and not stale:
                self._save_now_and_then(project, held)
            return False
        if held.until - now() < RENEWED and not self._take(project, held):
            self.held.pop(project, None)
            return False
        try:
            if stale and head.number > 0:
                held.running = self._load(project, held)
            kind, upto = self._plan(project, held, n_events)
            if kind is None:
                return False
            self._fold(project, held, kind, upto)
        except Overtaken:
            self.held.pop(project, None)
        return True

    def _take(self, project: int, held: Held) -> bool:
        """Take or renew the lease on a project; that of a process that has died is free."""
        time_now = now()
        with self.store.write(together=True) as db:
            holds = select(folding.c.owner).where(folding.c.project == project)
            owner = db.execute(holds).scalar_one()
            mine = (folding.c.owner == self.owner) | (folding.c.until < time_now)
            if owner is not None and _has_died(owner):
                mine = folding.c.owner == owner
            done = db.execute(
                update(folding)
                .where(folding.c.project == project, mine)
                .values(owner=self.owner, until=time_now + LEASE)
            )
        held.until = time_now + LEASE
        return done.rowcount == 1

    def _settling_is_due(self, held: Held) -> bool:
        rest = max(REST, SETTLED_SHARE * held.settle_took)
        return held.changed and time.monotonic() - held.settled_at >= rest

    def _plan(self, project: int, held: Held, n_events: int) -> tuple[str | None, int]:
        running = held.running
        if running is None:
            return "restart", n_events
        pending = n_events - running.upto
        if pending == 0:
            due = self._settling_is_due(held)
            return (self._settling(held, running) if due else None), running.upto
        with self.store.read() as db:
            spoken = {row.kind for row in other_events(db, project, running.upto, n_events)}
        many = pending >= MANY and pending >= running.state.n_votes
        if many or spoken & set(RESTARTING):
            return "restart", n_events
        if self._settling_is_due(held):
            return self._settling(held, running), running.upto
        return "update", min(n_events, running.upto + AT_ONCE)

    def _settling(self, held: Held, running: fold.Running) -> str:
        """How to settle all items. A restart now and then keeps the way back through the folds
        short, for those who rebuild the state from the log."""
        return "restart" if running.number - held.restarted >= MOST_FOLDS else "rescore"

    def _is_unfinished(self, project: int, number: int) -> bool:
        """Whether the last fold's standings were not all written, or nothing was settled since."""
        here = (folds.c.project == project) & (folds.c.number == number)
        with self.store.read() as db:
            last = db.execute(select(folds.c.kind, folds.c.written).where(here)).one()
        return last.kind == "update" or not last.written

    def _fold(self, project: int, held: Held, kind: str, upto: int) -> None:
        """Fold in memory, then keep it; if that fails, memory is given up and loaded anew."""
        started = time.monotonic()
        before, held.running = held.running, None
        number = 0 if before is None else before.number
        with self.store.read() as db:
            about = by_id(db, project)
            if kind == "restart":
                description = {"name": about.settings.method, "classes": len(about.classes)}
            else:
                assert before is not None, "only a restart begins from nothing"
                description = before.description
            running, outcome = _applied(db, project, before, kind, upto, description)
        running.number, running.upto = number + 1, upto
        self._keep(about, kind, running, outcome)
        held.running = running
        held.changed = kind == "update" and (held.changed or len(outcome.item) > 0)
        if kind == "restart":
            held.restarted = running.number
        if kind != "update":
            held.settled_at = time.monotonic()
            held.settle_took = held.settled_at - started
        self._save_now_and_then(project, held)

    def _keep(
        self, about: Project, kind: str, running: fold.Running, outcome: fold.Outcome
    ) -> None:
        """Write the fold and what it changed.

        All is worked out before: who has the turn to write keeps everybody else from writing.
        """
        items = standing_rows(about, running, outcome)
        people = worker_rows(about.id, running, outcome)
        at_once = len(outcome.item) + len(outcome.worker) <= TOGETHER
        if at_once:
            items, people = iter([*items]), iter([*people])
        head = head_figures(about, running) if self._head_is_due(about, kind) else None
        until = now() + LEASE
        with self.store.write(together=True) as db:
            _claim_number(db, about.id, self.owner, running, until)
            row = {
                "project": about.id, "number": running.number, "kind": kind,
                "upto": running.upto, "method": running.description, "at": now(),
                "written": at_once,
            }  # fmt: skip
            db.execute(_KEEP, row)
            if at_once:
                write_standings(db, items)
                write_workers(db, people)
            if head is not None:
                write_head(db, about, running.number, head)
        self.held[about.id].until = until
        if not at_once:
            self._write_the_rest(about.id, running.number, items, people)

    def _head_is_due(self, about: Project, kind: str) -> bool:
        """Figures over all items cost by the items: in a large project not at every update."""
        held = self.held[about.id]
        due = time.monotonic() - held.figured_at > FIGURES_EVERY
        if kind == "update" and about.n_items > FEW and not due:
            return False
        held.figured_at = time.monotonic()
        return True

    def _write_the_rest(
        self, project: int, number: int, items: Iterator[Any], people: Iterator[Any]
    ) -> None:
        """Standings and workers in pieces, so that writers of events need not wait long."""
        for write, rows in ((write_standings, items), (write_workers, people)):
            for part in chunks(rows, PIECE):
                with self.store.write(together=True) as db:
                    _still_last(db, project, number)
                    write(db, iter(part))
        with self.store.write(together=True) as db:
            _still_last(db, project, number)
            here = (folds.c.project == project) & (folds.c.number == number)
            db.execute(update(folds).where(here).values(written=True))

    def _load(self, project: int, held: Held) -> fold.Running:
        """The state after the last fold: a snapshot, and the folds since."""
        with self.store.read() as db:
            running = rebuilt(db, project, from_snapshot=True)
            here = (folds.c.project == project) & (folds.c.number == running.number)
            last = db.execute(select(folds.c.written, folds.c.kind).where(here)).one()
            anew = (folds.c.project == project) & (folds.c.kind == "restart")
            held.restarted = db.execute(select(func.max(folds.c.number)).where(anew)).scalar_one()
            about = by_id(db, project)
        held.looked, held.changed = True, last.kind == "update"
        if not last.written:
            outcome = fold.everything(running)
            items = standing_rows(about, running, outcome)
            people = worker_rows(project, running, outcome)
            self._write_the_rest(project, running.number, items, people)
        return running

    def _save_now_and_then(self, project: int, held: Held) -> None:
        if time.monotonic() - held.saved_at >= SNAPSHOT_EVERY:
            self._keep_snapshot(project, held)

    def _keep_snapshot(self, project: int, held: Held) -> None:
        running = held.running
        held.saved_at = time.monotonic()
        if running is None or running.number == held.saved_number:
            return
        started = time.perf_counter()
        held.saved_number = running.number
        if fold.size(running) > LARGEST_SNAPSHOT:
            return
        content = fold.to_bytes(running)
        summary = {"n_votes": running.state.n_votes, "digest": fold.digest(running)}
        with self.store.write() as db:
            old = (fits.c.project == project) & (fits.c.kind == "snapshot")
            db.execute(update(fits).where(old).values(state=None))
            db.execute(
                insert(fits).values(
                    project=project, kind="snapshot", method=running.description,
                    fold=running.number, upto=running.upto, at=now(), summary=summary,
                    seconds=time.perf_counter() - started, state=content,
                )
            )  # fmt: skip


# Statements of every fold are built once: building one costs more than running it.
_OURS = folding.c.project == bindparam("here")
_HEAD = select(folding.c.number, folding.c.upto, projects.c.n_events).where(
    _OURS, projects.c.id == folding.c.project
)
_NUMBER = select(folding.c.number).where(_OURS)
_CLAIM = update(folding).where(
    _OURS, folding.c.owner == bindparam("me"), folding.c.number == bindparam("before")
)
_KEEP = insert(folds)


def _has_died(owner: str) -> bool:
    """Whether an owner was a process of this machine that is no more."""
    _, process, host = owner.split(" ", 2)
    if host != socket.gethostname()[: len(host)] or not host:
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def rebuilt(db: Connection, project: int, *, from_snapshot: bool = False) -> fold.Running:
    """The state after the last fold, from the log; `from_snapshot` starts at the last one kept."""
    running: fold.Running | None = None
    if from_snapshot:
        kept = db.execute(
            select(fits)
            .where(fits.c.project == project, fits.c.kind == "snapshot", fits.c.state.is_not(None))
            .order_by(fits.c.fold.desc())
            .limit(1)
        ).first()
        running = None if kept is None else fold.from_bytes(kept.state, kept.method)
    after = 0 if running is None else running.number
    query = select(folds).where(folds.c.project == project, folds.c.number > after)
    steps = db.execute(query.order_by(folds.c.number)).all()
    last_restart = max((k for k, step in enumerate(steps) if step.kind == "restart"), default=0)
    for step in steps[last_restart:]:
        running, _ = _applied(db, project, running, step.kind, step.upto, step.method)
        running.number, running.upto = step.number, step.upto
    assert running is not None, "the first fold is a restart"
    return running


def _applied(
    db: Connection,
    project: int,
    running: fold.Running | None,
    kind: str,
    upto: int,
    description: dict[str, Any],
) -> tuple[fold.Running, fold.Outcome]:
    """One fold in memory."""
    if kind == "rescore":
        assert running is not None, "only a restart begins from nothing"
        return fold.rescore(running)
    blocked = blocked_workers(db, project, upto)
    if kind == "restart":
        told = gold(decisions(db, project, answered_items(db, project, upto), upto))
        return fold.restart(description, read_votes(db, project, 0, upto), told, blocked)
    assert running is not None, "only a restart begins from nothing"
    votes = read_votes(db, project, running.upto, upto).without(blocked)
    spoken = other_events(db, project, running.upto, upto)
    items = {row.item for row in spoken if row.kind in ("answer", "undo", "accept")}
    return fold.update(running, votes, gold(decisions(db, project, sorted(items), upto)))


def _claim_number(
    db: Connection, project: int, owner: str, running: fold.Running, until: int
) -> None:
    """Make this the last fold, and renew the lease. Raises Overtaken where another process has come
    between."""
    claim = {
        "here": project, "me": owner, "before": running.number - 1, "number": running.number,
        "upto": running.upto, "until": until,
        "prior": running.prior().astype(np.float64).tobytes(),
        "guess": running.guess().astype(np.float64).tobytes(),
    }  # fmt: skip
    if db.execute(_CLAIM, claim).rowcount != 1:
        raise Overtaken


def _still_last(db: Connection, project: int, number: int) -> None:
    if db.execute(_NUMBER, {"here": project}).scalar_one() != number:
        raise Overtaken
