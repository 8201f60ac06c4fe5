"""The log of a project: events with numbers without gaps, and what stands after them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64
from sqlalchemy import Connection, and_, bindparam, insert, select, update

from crowdlearn.errors import ConflictError
from crowdlearn.store.database import now
from crowdlearn.store.tables import SPOKEN, events, projects

DECISIONS = ("answer", "accept")
LAST = (1 << 63) - 1  # no event has a larger number
READ_AT_ONCE = 100_000
MANY = 500  # names or numbers in one statement


# Statements of every request are built once: building one costs more than running it.
_INSERT = insert(events)
_KEYED = select(events).where(
    events.c.project == bindparam("here"), events.c.key == bindparam("wanted")
)
_RESERVE = (
    update(projects)
    .where(projects.c.id == bindparam("here"))
    .values(
        n_events=projects.c.n_events + bindparam("added"),
        n_votes=projects.c.n_votes + bindparam("more_votes"),
        n_answers=projects.c.n_answers + bindparam("more_answers"),
    )
    .returning(projects.c.n_events)
)


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that was said; see `store.tables.events`."""

    kind: str
    item: int | None = None
    worker: int | None = None
    actor: str | None = None
    label: int | None = None
    undoes: int | None = None
    key: str | None = None
    more: dict[str, Any] | None = None


@dataclass(frozen=True)
class Decision:
    """What an expert said of an item, by the event that said it."""

    seq: int
    kind: str
    label: int
    actor: str
    at: int


def append_events(
    db: Connection, project: int, new: Sequence[Event], *, n_votes: int = 0, n_answers: int = 0
) -> int:
    """Append events; the number of the first. The caller holds the project's lock.

    `n_votes` and `n_answers` are added to the project's counts.
    """
    if not new:
        return 0
    first = reserve(db, project, len(new), n_votes=n_votes, n_answers=n_answers)
    time = now()
    rows = [
        {"project": project, "seq": first + k, "at": time} | vars(event)
        for k, event in enumerate(new)
    ]
    db.execute(_INSERT, rows)
    return first


def reserve(db: Connection, project: int, n: int, *, n_votes: int = 0, n_answers: int = 0) -> int:
    """Take the next `n` numbers of the log; the first of them."""
    added = {"added": n, "more_votes": n_votes, "more_answers": n_answers, "here": project}
    return int(db.execute(_RESERVE, added).scalar_one()) - n + 1


def with_key(db: Connection, project: int, key: str | None, event: Event) -> int | None:
    """The number of the event that was sent under this key before; None if there is none.

    Raises ConflictError where the key came with something else.
    """
    if key is None:
        return None
    found = db.execute(_KEYED, {"here": project, "wanted": key}).first()
    if found is None:
        return None
    same = ("kind", "item", "worker", "label", "undoes")
    if any(getattr(found, name) != getattr(event, name) for name in same):
        raise ConflictError(f"key {key!r} was used before, for something else: use a new key")
    return int(found.seq)


def decisions(
    db: Connection, project: int, items: Iterable[int], upto: int | None = None
) -> dict[int, list[Decision]]:
    """The decisions on these items that have not been undone by event `upto`, oldest first."""
    said: dict[int, dict[int, Decision]] = {}
    listed = list(items)
    for start in range(0, len(listed), MANY):
        part = listed[start : start + MANY]
        last = LAST if upto is None else upto
        for row in db.execute(_DECIDED, {"here": project, "wanted": part, "last": last}):
            of_item = said.setdefault(row.item, {})
            if row.kind == "undo":
                of_item.pop(row.undoes, None)
            else:
                of_item[row.seq] = Decision(row.seq, row.kind, row.label, row.actor, row.at)
    return {item: list(found.values()) for item, found in said.items()}


_DECIDED = (
    select(
        events.c.seq, events.c.kind, events.c.item, events.c.label, events.c.actor, events.c.at,
        events.c.undoes,
    )
    .where(events.c.project == bindparam("here"), events.c.seq <= bindparam("last"))
    .where(events.c.item.in_(bindparam("wanted", expanding=True)))
    .where(events.c.kind.in_((*DECISIONS, "undo")))
    .order_by(events.c.item, events.c.seq)
)  # fmt: skip


_BETWEEN = and_(
    events.c.project == bindparam("here"),
    events.c.seq > bindparam("after"),
    events.c.seq <= bindparam("last"),
)
_VOTES = (
    select(events.c.item, events.c.worker, events.c.label)
    .where(_BETWEEN, events.c.kind == "vote")
    .order_by(events.c.seq)
)
_OTHERS = (
    select(events.c.kind, events.c.item, events.c.worker, events.c.more)
    .where(_BETWEEN, events.c.kind != "vote")
    .order_by(events.c.seq)
)
_BLOCKED = (
    select(events.c.worker, events.c.kind)
    .where(events.c.project == bindparam("here"), events.c.seq <= bindparam("last"), SPOKEN)
    .where(events.c.kind.in_(("block", "unblock")))
    .order_by(events.c.seq)
)


@dataclass(frozen=True, eq=False)
class VoteColumns:
    """Votes in the order they came, by the project's numbers."""

    item: Int64[np.ndarray, " vote"]
    worker: Int64[np.ndarray, " vote"]
    label: Int64[np.ndarray, " vote"]

    def __len__(self) -> int:
        return len(self.item)

    def without(self, workers: set[int]) -> VoteColumns:
        """The votes of all others."""
        if not workers:
            return self
        keep = ~np.isin(self.worker, np.array(sorted(workers)))
        return VoteColumns(self.item[keep], self.worker[keep], self.label[keep])


def read_votes(db: Connection, project: int, after: int, upto: int) -> VoteColumns:
    """The votes among events after `after`, up to and with `upto`."""
    between = {"here": project, "after": after, "last": upto}
    found = db.execution_options(yield_per=READ_AT_ONCE).execute(_VOTES, between)
    parts = [
        np.array([tuple(row) for row in part], dtype=np.int64).reshape(-1, 3)
        for part in found.partitions()
    ]
    db.execution_options(yield_per=None)
    rows = np.concatenate(parts) if parts else np.empty((0, 3), dtype=np.int64)
    return VoteColumns(rows[:, 0].copy(), rows[:, 1].copy(), rows[:, 2].copy())


def other_events(db: Connection, project: int, after: int, upto: int) -> Iterator[Any]:
    """What is no vote among these events: rows with kind, item, worker and more."""
    yield from db.execute(_OTHERS, {"here": project, "after": after, "last": upto})


def blocked_workers(db: Connection, project: int, upto: int) -> set[int]:
    """Who is blocked after event `upto`."""
    blocked: set[int] = set()
    for row in db.execute(_BLOCKED, {"here": project, "last": upto}):
        (blocked.add if row.kind == "block" else blocked.discard)(row.worker)
    return blocked


def gold(found: Mapping[int, list[Decision]]) -> dict[int, int | None]:
    """The class that an expert's last word gives each item; None where it is no answer."""
    return {
        item: said[-1].label if said and said[-1].kind == "answer" else None
        for item, said in found.items()
    }


def answered_items(db: Connection, project: int, upto: int) -> list[int]:
    """Items that an expert has ever answered, by event `upto`."""
    query = (
        select(events.c.item)
        .where(events.c.project == project, events.c.seq <= upto, SPOKEN)
        .where(events.c.kind == "answer")
        .distinct()
        .order_by(events.c.item)
    )
    return [int(item) for item in db.execute(query).scalars()]
