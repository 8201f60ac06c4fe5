"""The next item: lent to one at a time, and back after a while if nothing came of it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, bindparam, insert, not_, select, update

from crowdlearn.errors import ConflictError, SettingsError
from crowdlearn.service.access import Actor, project_id, require
from crowdlearn.service.items import Item, find_item, read_decided
from crowdlearn.service.projects import Project, read_project
from crowdlearn.store.database import lock_project, now
from crowdlearn.store.tables import OPEN, WANTED, assignments, events, folding, standings, workers

PURPOSES = {"vote": "take item to vote", "answer": "take item to answer"}


@dataclass(frozen=True)
class Loan:
    """An item lent for a vote or an answer, until `until` (microseconds), under a token.

    `seen` is the number of the decision that stood then (0: none): send it with the answer.
    """

    item: Item
    purpose: str
    token: str
    until: int
    seen: int
    again: bool = False  # the one that was held already


def next_item(
    db: Connection,
    actor: Actor,
    project: str,
    purpose: str,
    *,
    session: str = "",
    worker: str | None = None,
) -> Loan | None:
    """Lend the most urgent item that nobody holds; None where nothing is left to do.

    For an `answer`: what no expert has decided. For a `vote`: what has fewer votes than the
    redundancy asks for, is not sure enough to stop, and this worker has not voted on. What the
    actor has skipped comes last. One who holds an item in this `session` gets it again, with a new
    lease. `worker` is who votes, where a tool asks for them.
    """
    if purpose not in PURPOSES:
        raise SettingsError(f"purpose {purpose!r} is not one of {', '.join(PURPOSES)}")
    about = read_project(db, actor, project, PURPOSES[purpose])
    if worker is not None:
        require(about.role, project, "vote for others")
    lock_project(db, about.id)
    _end_overdue(db, about.id)
    holder = _holder(actor, purpose, session, worker)
    held = _held_by(db, about.id, holder)
    if held is not None:
        until = now() + about.settings.lease_seconds * 1_000_000
        db.execute(update(assignments).where(assignments.c.id == held.id).values(until=until))
        return _loan(db, about, held.item, purpose, held.token, until, again=True)
    if purpose == "answer":
        number = _to_answer(db, about, actor)
    else:
        number = _to_vote(db, about, actor, worker or actor.name.removeprefix("user:"))
    if number is None:
        return None
    return _lend(db, about, number, holder, purpose)


def take_item(db: Connection, actor: Actor, project: str, name: str, *, session: str = "") -> Loan:
    """Lend this item to an expert, whatever its place in the queue.

    Raises ConflictError where somebody else holds it.
    """
    about = read_project(db, actor, project, "take item to answer")
    lock_project(db, about.id)
    _end_overdue(db, about.id)
    number = find_item(db, about.id, name)
    holder = _holder(actor, "answer", session, None)
    held = _held_by(db, about.id, holder)
    if held is not None and held.item != number:
        _end(db, assignments.c.id == held.id, "released")
    here = (assignments.c.project == about.id) & (assignments.c.item == number)
    now_held = db.execute(select(assignments).where(here, assignments.c.ended_at.is_(None))).first()
    if now_held is not None and now_held.holder != holder:
        raise ConflictError(f"item {name!r} is being looked at by {_who(now_held.holder)}")
    if now_held is not None:
        return _loan(db, about, number, "answer", now_held.token, now_held.until, again=True)
    return _lend(db, about, number, holder, "answer")


def release(db: Connection, actor: Actor, project: str, token: str) -> bool:
    """Give an item back without a vote or answer; False where it was back already."""
    id = project_id(db, actor, project, "take item to vote")
    here = (assignments.c.project == id) & (assignments.c.token == token)
    return _end(db, and_(here, _theirs(actor)), "released")


def renew(db: Connection, actor: Actor, project: str, token: str) -> int | None:
    """A new lease on an item that is still held: until when; None where it is not."""
    about = read_project(db, actor, project, "take item to vote")
    lock_project(db, about.id)
    _end_overdue(db, about.id)
    until = now() + about.settings.lease_seconds * 1_000_000
    here = and_(
        assignments.c.project == about.id, assignments.c.token == token,
        assignments.c.ended_at.is_(None), _theirs(actor),
    )  # fmt: skip
    done = db.execute(update(assignments).where(here).values(until=until))
    return until if done.rowcount else None


def check_free(db: Connection, project: int, item: int, actor: Actor, token: str | None) -> None:
    """Raises ConflictError where somebody else holds the item now."""
    held = db.execute(_HELD_NOW, {"here": project, "number": item, "time": now()}).first()
    if held is None or held.token == token or _own(actor, held.holder):
        return
    raise ConflictError(f"the item is being looked at by {_who(held.holder)}: try again later")


def end_own(db: Connection, project: int, item: int, actor: Actor, outcome: str) -> bool:
    """The actor holds the item no more; False where they did not."""
    here = (assignments.c.project == project) & (assignments.c.item == item)
    return _end(db, and_(here, _theirs(actor)), outcome)


def end_with_answer(db: Connection, project: int, item: int, outcome: str) -> None:
    """The item is decided (or flagged): whoever held it holds it no more."""
    given = {"here": project, "number": item, "time": now(), "how": outcome}
    db.execute(_END_OF_ITEM, given)


def end_with_vote(db: Connection, project: int, item: int, token: str) -> None:
    """The vote that the item was lent for has come."""
    here = (assignments.c.project == project) & (assignments.c.item == item)
    _end(db, and_(here, assignments.c.token == token), "voted")


def _lend(db: Connection, about: Project, number: int, holder: str, purpose: str) -> Loan:
    token, time = secrets.token_urlsafe(32), now()
    until = time + about.settings.lease_seconds * 1_000_000
    row = {
        "project": about.id, "item": number, "holder": holder, "purpose": purpose, "token": token,
        "taken_at": time, "until": until,
    }  # fmt: skip
    db.execute(_LEND, row)
    return _loan(db, about, number, purpose, token, until)


def _loan(
    db: Connection,
    about: Project,
    number: int,
    purpose: str,
    token: str,
    until: int,
    again: bool = False,
) -> Loan:
    item, seen = read_decided(db, about, number)
    return Loan(item, purpose, token, until, seen, again)


def _to_answer(db: Connection, about: Project, actor: Actor) -> int | None:
    return _first(db, _UNDECIDED, {"here": about.id, "me": actor.name})


def _to_vote(db: Connection, about: Project, actor: Actor, worker: str) -> int | None:
    own = (workers.c.project == about.id) & (workers.c.name == worker)
    me = db.execute(select(workers.c.number, workers.c.flag).where(own)).first()
    if me is not None and me.flag == "blocked":
        return None
    head = select(folding.c.stop_doubt).where(folding.c.project == about.id)
    sure = 1 - db.execute(head).scalar_one()
    given = {"here": about.id, "me": actor.name, "sure": sure}
    return _first(db, _WANTED, given | {"voter": -1 if me is None else me.number})


def _first(db: Connection, queries: tuple[Any, Any], given: dict[str, Any]) -> int | None:
    """What the first query that finds an item finds."""
    for query in queries:
        found: int | None = db.execute(query, given).scalar()
        if found is not None:
            return found
    return None


def _most_urgent(*wanted: Any) -> Any:
    """The most urgent open item that nobody holds."""
    held = (
        select(assignments.c.id)
        .where(assignments.c.project == standings.c.project)
        .where(assignments.c.item == standings.c.item, assignments.c.ended_at.is_(None))
        .exists()
    )
    return (
        select(standings.c.item)
        .where(standings.c.project == bindparam("here"), standings.c.state == OPEN)
        .where(not_(held), *wanted)
        .order_by(standings.c.rank, standings.c.item)
        .limit(1)
    )


def _said(*what: Any) -> Any:
    """Whether there is such an event of the item."""
    here = (events.c.project == standings.c.project) & (events.c.item == standings.c.item)
    return select(events.c.seq).where(here, *what).exists()


def _skipped_last(*wanted: Any) -> tuple[Any, Any]:
    """The most urgent item that the actor has not skipped, and the most urgent one that was."""
    skipped = _said(events.c.kind == "skip", events.c.actor == bindparam("me"))
    return _most_urgent(*wanted, not_(skipped)), _most_urgent(*wanted, skipped)


_UNDECIDED = _skipped_last()
_WANTED = _skipped_last(
    WANTED,
    standings.c.confidence < bindparam("sure"),
    not_(_said(events.c.kind == "vote", events.c.worker == bindparam("voter"))),
)
_NOT_ENDED = assignments.c.ended_at.is_(None)
_OF_ITEM = and_(
    assignments.c.project == bindparam("here"), assignments.c.item == bindparam("number")
)
_HELD_NOW = select(assignments).where(_OF_ITEM, _NOT_ENDED, assignments.c.until > bindparam("time"))
_END_OF_ITEM = (
    update(assignments)
    .where(_OF_ITEM, _NOT_ENDED)
    .values(ended_at=bindparam("time"), outcome=bindparam("how"))
)
_END_OVERDUE = (
    update(assignments)
    .where(assignments.c.project == bindparam("here"), assignments.c.until <= bindparam("time"))
    .where(_NOT_ENDED)
    .values(ended_at=assignments.c.until, outcome="expired")
)
_LEND = insert(assignments)
_HELD = select(assignments).where(
    assignments.c.project == bindparam("here"),
    assignments.c.holder == bindparam("me"),
    assignments.c.ended_at.is_(None),
)


def _held_by(db: Connection, project: int, holder: str) -> Any:
    return db.execute(_HELD, {"here": project, "me": holder}).first()


def _end_overdue(db: Connection, project: int) -> None:
    db.execute(_END_OVERDUE, {"here": project, "time": now()})


def _end(db: Connection, which: Any, outcome: str) -> bool:
    done = db.execute(
        update(assignments)
        .where(which, assignments.c.ended_at.is_(None))
        .values(ended_at=now(), outcome=outcome)
    )
    return bool(done.rowcount)


def _holder(actor: Actor, purpose: str, session: str, worker: str | None) -> str:
    """Who holds: an actor, for a worker of theirs, in one session (window)."""
    return "|".join((actor.name, purpose, worker or "", session))[:200]


def _own(actor: Actor, holder: str) -> bool:
    return holder.startswith(f"{actor.name}|")


def _theirs(actor: Actor) -> Any:
    return assignments.c.holder.startswith(f"{actor.name}|", autoescape=True)


def _who(holder: str) -> str:
    return holder.split("|")[0].removeprefix("user:")
