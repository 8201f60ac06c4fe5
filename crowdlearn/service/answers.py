"""What experts decide, and what they say about items. Every word is an event; nothing is erased.

Whoever answers says which decision they saw (`seen`): if another one stands by now, the answer is
refused, and they look again. So two reviewers never decide the same item unknowingly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, text, update

from crowdlearn.errors import ConflictError, NotAllowedError, NotFoundError, SettingsError
from crowdlearn.service.access import RIGHTS, Actor, project_id, role_in
from crowdlearn.service.assignments import check_free, end_own, end_with_answer
from crowdlearn.service.items import find_item, find_standing
from crowdlearn.service.log import DECISIONS, Decision, Event, append_events, decisions, with_key
from crowdlearn.service.projects import Project, by_id, read_project
from crowdlearn.store.bulk import update_rows
from crowdlearn.store.database import lock_project
from crowdlearn.store.tables import (
    ACCEPTED,
    ANSWERED,
    FLAGGED,
    OPEN,
    events,
    items,
    projects,
    standings,
)

LONGEST_NOTE = 2000
MOST_ACCEPTED = 100_000  # items in one bulk acceptance


@dataclass(frozen=True)
class Said:
    """An event that is now in the log; `duplicate` if it was there under its key already."""

    seq: int
    duplicate: bool = False


@dataclass(frozen=True)
class Acceptable:
    """What accepting the labels at or above a confidence would do."""

    n_items: int
    expected_error: float  # mean of 1 - confidence over them; nan without any


@dataclass(frozen=True)
class Undoable:
    """A decision of one's own that stands; of a bulk acceptance, its last item."""

    seq: int
    item: str
    label: str
    at: int


def answer(
    db: Connection,
    actor: Actor,
    project: str,
    item: str,
    label: str,
    *,
    seen: int = 0,
    token: str | None = None,
    key: str | None = None,
    note: str | None = None,
    shown: dict[str, float] | None = None,
) -> Said:
    """An expert's decision on an item.

    `seen` is the number of the decision that stood on the screen (0: none), `token` that of the
    loan, `shown` the posterior that was seen; `key` makes sending it twice one answer. Raises
    ConflictError where another decision stands by now, or somebody else holds the item.
    """
    about = read_project(db, actor, project, "answer")
    lock_project(db, about.id)
    stands = find_standing(db, about.id, item)
    number = stands.number
    more: dict[str, Any] = {"guideline": about.guideline_version}
    if note:
        more["text"] = _checked_note(note)
    if shown is not None:
        more["shown"] = {str(k): float(p) for k, p in shown.items()}
    said = Event(
        kind="answer", item=number, label=about.code(label), actor=actor.name, key=key,
        more=more,
    )  # fmt: skip
    known = with_key(db, about.id, key, said)
    if known is not None:
        return Said(known, duplicate=True)
    if stands.decision != seen:
        raise _unseen(db, about.id, number, item)
    check_free(db, about.id, number, actor, token)
    seq = append_events(db, about.id, [said], n_answers=int(stands.state != ANSWERED))
    db.execute(_DECIDE, {"here": about.id, "number": number, "said": said.label, "by": seq})
    end_with_answer(db, about.id, number, "answered")
    return Said(seq)


def skip(
    db: Connection, actor: Actor, project: str, item: str, *, reason: str | None = None
) -> Said:
    """Leave an item to others; it comes back to this person when nothing else is left.

    Who may decide may skip any item, others one that they hold. Raises NotFoundError for another.
    """
    id = project_id(db, actor, project, "take item to vote")
    lock_project(db, id)
    number = find_item(db, id, item)
    held = end_own(db, id, number, actor, "skipped")
    if not held and role_in(db, actor, id) not in RIGHTS["comment"]:
        raise NotFoundError(f"there is no item {item!r}")  # the words of `find_item`
    more = {"text": _checked_note(reason)} if reason else None
    return Said(
        append_events(db, id, [Event(kind="skip", item=number, actor=actor.name, more=more)])
    )


def flag(
    db: Connection, actor: Actor, project: str, item: str, *, reason: str | None = None
) -> Said:
    """Take an item out of the queues: something is wrong with it."""
    return _comment(db, actor, project, item, "flag", reason)


def unflag(db: Connection, actor: Actor, project: str, item: str) -> Said:
    """Put a flagged item back."""
    return _comment(db, actor, project, item, "unflag", None)


def note(db: Connection, actor: Actor, project: str, item: str, words: str) -> Said:
    """Keep a remark on an item."""
    if not words.strip():
        raise SettingsError("a note needs words")
    return _comment(db, actor, project, item, "note", words)


def undo(db: Connection, actor: Actor, project: str, seq: int | None = None) -> tuple[Said, str]:
    """Take a decision back: the actor's last one that stands, or event `seq`; and its item's name.

    A bulk acceptance is taken back as one. Others' decisions may be taken back by an admin only.
    Raises NotFoundError where there is nothing to take back.
    """
    about = read_project(db, actor, project, "answer")
    lock_project(db, about.id)
    found = _to_undo(db, about.id, actor, seq)
    if found is None:
        raise NotFoundError("there is no decision of yours to take back")
    if found.actor != actor.name and role_in(db, actor, about.id) != "admin":
        raise NotAllowedError(f"event {found.seq} is {found.actor}'s: an admin may take it back")
    batch = (found.more or {}).get("batch")
    taken = [(found.seq, found.item)] if batch is None else _batch(db, about.id, batch)
    seq = append_events(
        db, about.id,
        [Event(kind="undo", item=item, undoes=said, actor=actor.name) for said, item in taken],
    )  # fmt: skip
    for _, item in taken:
        _settle(db, about.id, item)
    here = (items.c.project == about.id) & (items.c.number == found.item)
    return Said(seq), str(db.execute(select(items.c.name).where(here)).scalar_one())


def last_decision(
    db: Connection, actor: Actor, project: str, kind: str = "answer"
) -> Undoable | None:
    """The actor's last decision of this kind (answer or accept) that stands; None without any."""
    about = read_project(db, actor, project, "answer")
    found = _to_undo(db, about.id, actor, None, (kind,))
    if found is None:
        return None
    here = (items.c.project == about.id) & (items.c.number == found.item)
    name = str(db.execute(select(items.c.name).where(here)).scalar_one())
    return Undoable(found.seq, name, about.classes[found.label], found.at)


def acceptable(
    db: Connection, actor: Actor, project: str, at_least: float, *, label: str | None = None
) -> Acceptable:
    """How many open items have a label of this confidence, and how many errors to expect."""
    about = read_project(db, actor, project, "accept")
    which = _acceptable(about, at_least, label)
    row = db.execute(
        select(func.count().label("n"), func.avg(1 - standings.c.confidence).label("error")).where(
            which
        )
    ).one()
    return Acceptable(int(row.n), float("nan") if row.error is None else float(row.error))


def accept(
    db: Connection, actor: Actor, project: str, at_least: float, *, label: str | None = None
) -> int:
    """Take the labels of all open items of at least this confidence as they are; how many.

    Accepted labels leave the queue and teach the aggregator nothing: nobody looked at the items.
    One `undo` takes them all back.
    """
    about = read_project(db, actor, project, "accept")
    lock_project(db, about.id)
    about = by_id(db, about.id)  # as it is now that nobody else appends
    rows = db.execute(
        select(standings.c.item, standings.c.top)
        .where(_acceptable(about, at_least, label))
        .order_by(standings.c.item)
        .limit(MOST_ACCEPTED)
    ).all()
    if not rows:
        return 0
    first = about.n_events + 1
    more = {"batch": first, "at_least": at_least}
    said = [
        Event(kind="accept", item=row.item, label=row.top, actor=actor.name, more=more)
        for row in rows
    ]
    seq = append_events(db, about.id, said)
    update_rows(
        db, standings, ("project", "item"), ("state", "decision", "decision_seq"),
        ((ACCEPTED, row.top, seq + k, about.id, row.item) for k, row in enumerate(rows)),
    )  # fmt: skip
    return len(rows)


def history(db: Connection, actor: Actor, project: str, item: str) -> list[dict[str, Any]]:
    """Everything that was said of an item beside votes, oldest first."""
    about = read_project(db, actor, project, "read item")
    return history_of(db, about, find_item(db, about.id, item))


def history_of(db: Connection, about: Project, number: int) -> list[dict[str, Any]]:
    """`history` for a caller who has asked for the right already."""
    rows = db.execute(_SAID, {"here": about.id, "number": number})
    return [
        {
            "seq": row.seq, "kind": row.kind, "actor": row.actor, "at": row.at,
            "label": None if row.label is None else about.classes[row.label],
            "undoes": row.undoes, "text": (row.more or {}).get("text"),
        }
        for row in rows
    ]  # fmt: skip


def standing_decision(db: Connection, project: int, item: int) -> Decision | None:
    """The decision that stands on an item."""
    found = decisions(db, project, [item]).get(item)
    return found[-1] if found else None


_SAID = (
    select(events)
    .where(events.c.project == bindparam("here"), events.c.item == bindparam("number"))
    .where(events.c.kind != "vote")
    .order_by(events.c.seq)
)
_DECIDE = (
    update(standings)
    .where(standings.c.project == bindparam("here"), standings.c.item == bindparam("number"))
    .values(state=ANSWERED, decision=bindparam("said"), decision_seq=bindparam("by"))
)


def _comment(
    db: Connection, actor: Actor, project: str, item: str, kind: str, words: str | None
) -> Said:
    id = project_id(db, actor, project, "comment")
    lock_project(db, id)
    number = find_item(db, id, item)
    more = {"text": _checked_note(words)} if words else None
    seq = append_events(db, id, [Event(kind=kind, item=number, actor=actor.name, more=more)])
    if kind in ("flag", "unflag"):
        _settle(db, id, number)
    if kind == "flag":
        end_with_answer(db, id, number, "released")
    return Said(seq)


def _unseen(db: Connection, project: int, number: int, item: str) -> ConflictError:
    """That another decision stands than the one that was seen."""
    stands = standing_decision(db, project, number)
    if stands is None:
        return ConflictError(f"item {item!r}: its decision has been taken back; look again")
    who = stands.actor.removeprefix("user:")
    return ConflictError(f"item {item!r} has been decided by {who} meanwhile; look again")


def _settle(db: Connection, project: int, number: int) -> None:
    """Keep the state of an item as its events have it."""
    here = (standings.c.project == project) & (standings.c.item == number)
    before = db.execute(select(standings.c.state).where(here)).scalar_one()
    stands = standing_decision(db, project, number)
    state = OPEN if stands is None else ANSWERED if stands.kind == "answer" else ACCEPTED
    if stands is None and _is_flagged(db, project, number):
        state = FLAGGED
    db.execute(
        update(standings)
        .where(here)
        .values(
            state=state,
            decision=None if stands is None else stands.label,
            decision_seq=None if stands is None else stands.seq,
        )
    )
    change = int(state == ANSWERED) - int(before == ANSWERED)
    if change:
        this = projects.c.id == project
        db.execute(update(projects).where(this).values(n_answers=projects.c.n_answers + change))


def _is_flagged(db: Connection, project: int, number: int) -> bool:
    here = (events.c.project == project) & (events.c.item == number)
    last = db.execute(
        select(events.c.kind)
        .where(here, events.c.kind.in_(("flag", "unflag")))
        .order_by(events.c.seq.desc())
        .limit(1)
    ).scalar()
    return last == "flag"


def _to_undo(
    db: Connection,
    project: int,
    actor: Actor,
    seq: int | None,
    kinds: tuple[str, ...] = DECISIONS,
) -> Any:
    """The decision to take back, if it still stands."""
    said = events.alias("said")
    undone = (
        select(events.c.seq)
        .where(events.c.project == project, events.c.item == said.c.item)
        .where(events.c.kind == "undo", events.c.undoes == said.c.seq)
        .exists()
    )
    query = select(said).where(
        said.c.project == project, said.c.kind.in_(kinds), ~undone, text("said.kind <> 'vote'")
    )
    if seq is not None:
        return db.execute(query.where(said.c.seq == seq)).first()
    query = query.where(said.c.actor == actor.name).order_by(said.c.seq.desc()).limit(1)
    return db.execute(query).first()


def _batch(db: Connection, project: int, first: int) -> list[tuple[int, int]]:
    """Events and items of a bulk acceptance that still stand."""
    query = (
        select(events.c.seq, events.c.item, events.c.more)
        .where(events.c.project == project, events.c.kind == "accept")
        .where(events.c.seq >= first, events.c.seq < first + MOST_ACCEPTED)
        .order_by(events.c.seq)
    )
    rows = [row for row in db.execute(query) if (row.more or {}).get("batch") == first]
    stand = decisions(db, project, [row.item for row in rows])
    standing = {said.seq for found in stand.values() for said in found}
    return [(row.seq, row.item) for row in rows if row.seq in standing]


def _acceptable(about: Any, at_least: float, label: str | None) -> Any:
    if not 0 <= at_least <= 1:
        raise SettingsError(f"a confidence is from 0 to 1, not {at_least!r}")
    which = (
        (standings.c.project == about.id) & (standings.c.state == OPEN)
        & standings.c.top.is_not(None) & (standings.c.confidence >= at_least)
    )  # fmt: skip
    return which if label is None else which & (standings.c.top == about.code(label))


def _checked_note(words: str) -> str:
    found = words.strip()
    if len(found) > LONGEST_NOTE:
        raise SettingsError(f"a note has at most {LONGEST_NOTE} characters, not {len(found)}")
    if "\x00" in found:
        raise SettingsError("a note holds no NUL character")
    return found
