"""Workers: how reliable, how they err, whether they drift, who is suspiciously alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from sqlalchemy import Connection, select, update

from crowdlearn.errors import NotFoundError, SettingsError
from crowdlearn.evaluation.calibration import wilson
from crowdlearn.service.access import Actor, project_id
from crowdlearn.service.log import Event, append_events
from crowdlearn.service.projects import Project, read_project
from crowdlearn.service.trail import record
from crowdlearn.store.database import lock_project
from crowdlearn.store.tables import events, standings, workers

FLAGS = {"blocked": "block", "retrain": "retrain", None: "unblock"}
MOST_ROWS = 500
LATEST = 5000  # votes of a worker that the drift looks at
ORDERS = {"name": workers.c.name, "n_votes": workers.c.n_votes, "accuracy": workers.c.accuracy}


@dataclass(frozen=True)
class Worker:
    """A worker as of the last fold; the accuracy's interval holds 90 % of its posterior."""

    number: int
    name: str
    flag: str | None
    n_votes: int
    accuracy: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, eq=False)
class Drift:
    """How right a worker's votes were over time, in windows of as many votes each.

    `right` is the mean posterior probability of what they said; low and high are its 90 % Wilson
    interval, `at` the time of a window's last vote.
    """

    at: np.ndarray
    n_votes: np.ndarray
    right: Float[np.ndarray, " window"]
    low: Float[np.ndarray, " window"]
    high: Float[np.ndarray, " window"]


def list_workers(
    db: Connection,
    actor: Actor,
    project: str,
    *,
    order: str = "n_votes",
    descending: bool = True,
    search: str | None = None,
    skip: int = 0,
    limit: int = 50,
) -> list[Worker]:
    """A page of workers. Raises SettingsError for an unknown order."""
    about = read_project(db, actor, project, "read workers")
    if order not in ORDERS:
        raise SettingsError(f"order {order!r} is not one of {', '.join(ORDERS)}")
    if not 1 <= limit <= MOST_ROWS or skip < 0:
        raise SettingsError(f"a page has 1 to {MOST_ROWS} workers")
    by = ORDERS[order].desc() if descending else ORDERS[order]
    query = select(workers).where(workers.c.project == about.id)
    if search:
        query = query.where(workers.c.name.icontains(search, autoescape=True))
    query = query.order_by(by, workers.c.number).offset(skip).limit(limit)
    return [_worker(row) for row in db.execute(query)]


def read_worker(db: Connection, actor: Actor, project: str, name: str) -> Worker:
    """One worker. Raises NotFoundError."""
    about = read_project(db, actor, project, "read workers")
    return _worker(_row(db, about.id, name))


def confusion(
    db: Connection, actor: Actor, project: str, name: str
) -> Float[np.ndarray, "class class"] | None:
    """Expected confusion matrix [truth, label] of a worker; None before the first fold."""
    about = read_project(db, actor, project, "read workers")
    counts = counts_of(about, _row(db, about.id, name))
    return None if counts is None else counts / counts.sum(axis=1, keepdims=True)


def counts_of(about: Project, row: Any) -> Float[np.ndarray, "class class"] | None:
    """Dirichlet counts [truth, label] in a worker's row."""
    n = len(about.classes)
    if row.counts is None or len(row.counts) != 8 * n * n:
        return None
    return np.frombuffer(row.counts).reshape(n, n).copy()


def drift(db: Connection, actor: Actor, project: str, name: str, *, windows: int = 20) -> Drift:
    """How right the worker's latest votes were, judged by today's posteriors."""
    about = read_project(db, actor, project, "read workers")
    number = _row(db, about.id, name).number
    same = (standings.c.project == events.c.project) & (standings.c.item == events.c.item)
    rows = db.execute(
        select(events.c.at, events.c.label, standings.c.posterior)
        .join(standings, same)
        .where(events.c.project == about.id, events.c.worker == number)
        .where(events.c.kind == "vote", standings.c.posterior.is_not(None))
        .order_by(events.c.seq.desc())
        .limit(LATEST)
    ).all()[::-1]
    right = np.array([np.frombuffer(row.posterior)[row.label] for row in rows])
    at = np.array([row.at for row in rows], dtype=np.int64)
    parts = np.array_split(np.arange(len(rows)), min(windows, max(len(rows) // 5, 1)))
    parts = [part for part in parts if len(part)]
    n = np.array([len(part) for part in parts], dtype=np.int64)
    mean = np.array([right[part].mean() for part in parts])
    low, high = wilson(mean * n, n, 0.9)
    return Drift(np.array([at[part[-1]] for part in parts], dtype=np.int64), n, mean, low, high)


def judge_worker(
    db: Connection, actor: Actor, project: str, name: str, flag: str | None, *, reason: str = ""
) -> Worker:
    """Block a worker (their votes no longer count, and they get no items), ask for retraining, or
    (None) let them work again.

    Blocking and letting in again make the aggregator start anew. Raises SettingsError for an
    unknown flag.
    """
    id = project_id(db, actor, project, "judge workers")
    if flag not in FLAGS:
        raise SettingsError(f"flag {flag!r} is not one of blocked, retrain, or none")
    lock_project(db, id)
    row = _row(db, id, name)
    if row.flag == flag:
        return _worker(row)
    kind = FLAGS[flag]
    if kind == "retrain" and row.flag == "blocked":
        append_events(db, id, [Event(kind="unblock", worker=row.number, actor=actor.name)])
    more = {"text": reason[:2000]} if reason else None
    append_events(db, id, [Event(kind=kind, worker=row.number, actor=actor.name, more=more)])
    here = (workers.c.project == id) & (workers.c.number == row.number)
    db.execute(update(workers).where(here).values(flag=flag))
    record(db, actor, id, f"worker {kind}", worker=name)
    return _worker(_row(db, id, name))


def _row(db: Connection, project: int, name: str) -> Any:
    here = (workers.c.project == project) & (workers.c.name == name)
    found = db.execute(select(workers).where(here)).first()
    if found is None:
        raise NotFoundError(f"there is no worker {name!r}")
    return found


def _worker(row: Any) -> Worker:
    return Worker(row.number, row.name, row.flag, row.n_votes, row.accuracy, row.low, row.high)
