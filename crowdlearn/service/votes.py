"""Votes come in: one by one with keys, or a million at once; each is in the log once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from sqlalchemy import Connection, bindparam, case, select, update

from crowdlearn.errors import ConflictError, SettingsError
from crowdlearn.service.access import Actor, require
from crowdlearn.service.assignments import end_with_vote
from crowdlearn.service.items import find_items
from crowdlearn.service.log import MANY, Event, append_events, reserve
from crowdlearn.service.new_items import check_name, insert_named
from crowdlearn.service.projects import Project, read_project
from crowdlearn.store.bulk import insert_rows, update_rows
from crowdlearn.store.database import lock_project, now
from crowdlearn.store.tables import events, projects, standings, workers


@dataclass(frozen=True, kw_only=True)
class NewVote:
    """One worker's label for one item, by names. The same `key` twice is one vote."""

    item: str
    worker: str
    label: str
    key: str | None = None


@dataclass(frozen=True)
class Appended:
    """How many votes were new, and how many the log had already under their keys."""

    n_new: int
    n_duplicates: int
    n_new_items: int = 0
    n_new_workers: int = 0


def append_votes(
    db: Connection,
    actor: Actor,
    project: str,
    votes: Sequence[NewVote],
    *,
    token: str | None = None,
) -> Appended:
    """Append votes, all or none. Items and workers that are new are added.

    Annotators vote in their own name only. `token` ends the loan of the item that was voted on.
    Raises SettingsError naming the vote (counting from 0) for an unknown label or an unusable
    name, ConflictError where a key came with another vote, NotAllowedError.
    """
    about = read_project(db, actor, project, "vote")
    own = worker_name(actor)
    if about.role == "tool" or any(vote.worker != own for vote in votes):
        require(about.role, project, "vote for others")
    codes = [_checked(about, place, vote) for place, vote in enumerate(votes)]
    lock_project(db, about.id)
    item_of, n_items = _items(db, about, votes)
    worker_of, n_workers = _workers(db, about, [vote.worker for vote in votes])
    new = [
        Event(
            kind="vote", item=item_of[vote.item], worker=worker_of[vote.worker], label=code,
            key=vote.key, actor=actor.name,
        )
        for vote, code in zip(votes, codes, strict=True)
    ]  # fmt: skip
    fresh = _without_known(db, about.id, new)
    append_events(db, about.id, fresh, n_votes=len(fresh))
    _count(db, about, np.array([event.item for event in fresh], dtype=np.int64))
    if token is not None:
        for event in fresh:
            assert event.item is not None, "a vote has an item"
            end_with_vote(db, about.id, event.item, token)
    return Appended(len(fresh), len(new) - len(fresh), n_items, n_workers)


def append_columns(
    db: Connection,
    about: Project,
    items: Int[np.ndarray, " vote"],
    workers: Int[np.ndarray, " vote"],
    labels: Int[np.ndarray, " vote"],
    actor: str,
) -> int:
    """Append many votes by number; the caller has checked them and holds the lock."""
    time, n = now(), len(items)
    first = reserve(db, about.id, n, n_votes=n)
    columns = zip(
        range(first, first + n), items.tolist(), workers.tolist(), labels.tolist(), strict=True
    )
    insert_rows(
        db, events, ("project", "seq", "kind", "item", "worker", "label", "actor", "at"),
        ((about.id, seq, "vote", i, w, k, actor, time) for seq, i, w, k in columns),
    )  # fmt: skip
    _count(db, about, np.asarray(items, dtype=np.int64))
    return n


def worker_name(actor: Actor) -> str:
    """The worker that an actor's own votes are kept under."""
    return actor.name.removeprefix("user:")


def find_workers(db: Connection, project: int, names: Sequence[str]) -> dict[str, int]:
    """Numbers of the workers of these names, where there are any."""
    found: dict[str, int] = {}
    for start in range(0, len(names), MANY):
        part = names[start : start + MANY]
        rows = db.execute(_NAMED, {"here": project, "wanted": part})
        found |= {row.name: row.number for row in rows}
    return found


def insert_workers(db: Connection, about: Project, names: Sequence[str]) -> dict[str, int]:
    """Add workers that the caller knows to be new; their numbers."""
    if not names:
        return {}
    here = projects.c.id == about.id
    first = int(db.execute(select(projects.c.n_workers).where(here)).scalar_one())
    numbers = dict(zip(names, range(first, first + len(names)), strict=True))
    insert_rows(
        db, workers, ("project", "number", "name", "n_votes"),
        ((about.id, number, name, 0) for name, number in numbers.items()),
    )  # fmt: skip
    db.execute(update(projects).where(here).values(n_workers=first + len(names)))
    return numbers


def _checked(about: Project, place: int, vote: NewVote) -> int:
    try:
        check_name("item", vote.item)
        check_name("worker", vote.worker)
        if vote.key is not None and not 0 < len(vote.key) <= 200:
            raise SettingsError("a key is 1 to 200 characters")
        return about.code(vote.label)
    except SettingsError as error:
        raise SettingsError(f"vote {place}: {error}") from error


def _items(db: Connection, about: Project, votes: Sequence[NewVote]) -> tuple[dict[str, int], int]:
    names = list(dict.fromkeys(vote.item for vote in votes))
    known = find_items(db, about.id, names)
    new = insert_named(db, about, [name for name in names if name not in known])
    return known | new, len(new)


def _workers(db: Connection, about: Project, named: Sequence[str]) -> tuple[dict[str, int], int]:
    names = list(dict.fromkeys(named))
    known = find_workers(db, about.id, names)
    new = insert_workers(db, about, [name for name in names if name not in known])
    return known | new, len(new)


def _without_known(db: Connection, project: int, new: Sequence[Event]) -> list[Event]:
    """The events whose key the log does not have. Raises ConflictError for a key of another."""
    keys = [event.key for event in new if event.key is not None]
    had: dict[str, tuple[str, int, int, int]] = {}
    for start in range(0, len(keys), MANY):
        part = keys[start : start + MANY]
        rows = db.execute(_KEYED, {"here": project, "wanted": part})
        had |= {row.key: tuple(row[1:]) for row in rows}
    fresh: list[Event] = []
    for event in new:
        said = (event.kind, event.item, event.worker, event.label)
        if event.key is None:
            fresh.append(event)
        elif event.key not in had:
            had[event.key] = said  # type: ignore[assignment]
            fresh.append(event)
        elif had[event.key] != said:
            raise ConflictError(f"key {event.key!r} was used before, for something else")
    return fresh


def _count(db: Connection, about: Project, item: Int[np.ndarray, " vote"]) -> None:
    """Keep how many votes the items have."""
    if len(item) == 0:
        return
    numbers, times = np.unique(item, return_counts=True)
    if len(numbers) > MANY:
        _count_many(db, about, numbers, times)
        return
    enough = about.settings.redundancy
    rows = [
        {"here": about.id, "number": number, "added": n, "enough": enough}
        for number, n in zip(numbers.tolist(), times.tolist(), strict=True)
    ]
    db.execute(_ADD_VOTES, rows)


_NAMED = select(workers.c.name, workers.c.number).where(
    workers.c.project == bindparam("here"), workers.c.name.in_(bindparam("wanted", expanding=True))
)
_KEYED = select(events.c.key, events.c.kind, events.c.item, events.c.worker, events.c.label).where(
    events.c.project == bindparam("here"),
    events.c.key.in_(bindparam("wanted", expanding=True)),
    events.c.key.is_not(None),
)
_MORE = standings.c.n_votes + bindparam("added")
_ADD_VOTES = (
    update(standings)
    .where(standings.c.project == bindparam("here"), standings.c.item == bindparam("number"))
    .values(n_votes=_MORE, wanted=case((_MORE < bindparam("enough"), 1), else_=0))
)


def _count_many(
    db: Connection,
    about: Project,
    numbers: Int[np.ndarray, " item"],
    times: Int[np.ndarray, " item"],
) -> None:
    project, enough = about.id, about.settings.redundancy
    query = select(standings.c.item, standings.c.n_votes).where(standings.c.project == project)
    known = db.execute(query.order_by(standings.c.item)).all()
    had = np.zeros(max(int(numbers[-1]) + 1, len(known)), dtype=np.int64)
    had[[row.item for row in known]] = [row.n_votes for row in known]
    rows = zip((had[numbers] + times).tolist(), numbers.tolist(), strict=True)
    update_rows(
        db, standings, ("project", "item"), ("n_votes", "wanted"),
        ((n, int(n < enough), project, number) for n, number in rows),
    )  # fmt: skip
