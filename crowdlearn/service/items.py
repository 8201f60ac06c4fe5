"""Items, what is judged: found by name, listed in pages, shown in full."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Float,
    bindparam,
    case,
    func,
    or_,
    select,
    tuple_,
)

from crowdlearn.errors import NotFoundError, SettingsError
from crowdlearn.service.access import Actor, project_id
from crowdlearn.service.log import MANY
from crowdlearn.service.projects import Project, read_project
from crowdlearn.store.tables import (
    ACCEPTED,
    ANSWERED,
    FLAGGED,
    OPEN,
    events,
    items,
    media,
    standings,
)

STATES = {"open": OPEN, "answered": ANSWERED, "flagged": FLAGGED, "accepted": ACCEPTED}
STATE_NAMES = {code: name for name, code in STATES.items()}
ORDERS: dict[str, tuple[Column[Any], ...]] = {
    "urgency": (standings.c.state, standings.c.rank, standings.c.item),
    "confidence": (standings.c.confidence, standings.c.item),
    "number": (standings.c.item,),
}
Place = tuple[int | float, ...]
"""Where the next page of a list begins."""
MOST_ROWS = 500  # of a page
SHOWN = 200  # characters of a payload in a list


@dataclass(frozen=True)
class Item:
    """An item as it stands. `label` is the expert's decision, else the most probable class, else
    None; `confidence` the posterior probability of the most probable class."""

    number: int
    name: str
    payload_kind: str
    payload: str | None
    state: str
    n_votes: int
    label: str | None
    decided: bool
    confidence: float
    posterior: dict[str, float]


@dataclass(frozen=True)
class Standing:
    """Where an item stands: its `state` as a code, and the `decision` that does (0: none)."""

    number: int
    state: int
    decision: int


def find_items(db: Connection, project: int, names: Sequence[str]) -> dict[str, int]:
    """Numbers of the items of these names, where there are any."""
    found: dict[str, int] = {}
    for start in range(0, len(names), MANY):
        part = names[start : start + MANY]
        rows = db.execute(_NAMED, {"here": project, "wanted": part})
        found |= {row.name: row.number for row in rows}
    return found


def find_item(db: Connection, project: int, name: str) -> int:
    """The number of an item. Raises NotFoundError."""
    return find_standing(db, project, name).number


def find_standing(db: Connection, project: int, name: str) -> Standing:
    """The number of an item, its state and the decision that stands. Raises NotFoundError."""
    row = db.execute(_STANDING, {"here": project, "name": name}).first()
    if row is None:
        raise NotFoundError(f"there is no item {name!r}")
    return Standing(row.item, row.state, row.decision_seq or 0)


def read_item(db: Connection, actor: Actor, project: str, name: str) -> Item:
    """One item in full. Raises NotFoundError where the project has none of this name."""
    about = read_project(db, actor, project, "read item")
    return read_guarded(db, about, name)


def read_guarded(db: Connection, about: Project, item: str | int) -> Item:
    """One item in full, for a caller who has asked for the right already."""
    return read_decided(db, about, item)[0]


def read_decided(db: Connection, about: Project, item: str | int) -> tuple[Item, int]:
    """`read_guarded`, and the number of the decision that stands (0: none)."""
    query = _NAMED_ONE if isinstance(item, str) else _ONE
    row = db.execute(query, {"here": about.id, "item": item}).first()
    if row is None:
        raise NotFoundError(f"there is no item {item!r}")
    return _item(about, row), row.decision_seq or 0


def list_items(
    db: Connection,
    actor: Actor,
    project: str,
    *,
    order: str = "number",
    descending: bool = False,
    after: Place | None = None,
    limit: int = 50,
    **conditions: Any,
) -> tuple[list[Item], Place | None]:
    """A page of items, and where the next one begins (None: there is none).

    `order` is urgency (open items first, of these the most urgent), confidence or number;
    `conditions` are those of `count_items`. Long payloads are cut. Raises SettingsError for an
    unknown order or condition.
    """
    about = read_project(db, actor, project, "read items")
    return list_guarded(
        db, about, order=order, descending=descending, after=after, limit=limit, **conditions
    )


def list_guarded(
    db: Connection,
    about: Project,
    *,
    order: str = "number",
    descending: bool = False,
    after: Place | None = None,
    limit: int = 50,
    **conditions: Any,
) -> tuple[list[Item], Place | None]:
    """`list_items` for a caller who has asked for the right already."""
    if order not in ORDERS:
        raise SettingsError(f"order {order!r} is not one of {', '.join(ORDERS)}")
    if not 1 <= limit <= MOST_ROWS:
        raise SettingsError(f"a page has 1 to {MOST_ROWS} items, not {limit}")
    n_columns = len(ORDERS[order])
    if after is not None and len(after) != n_columns:
        raise SettingsError("that place is of a list in another order")
    query = _page(order, descending, after is not None)
    if asked := _conditions(about, **conditions):
        query = query.where(*asked)
    given = {"here": about.id, "most": limit + 1}
    places = {f"place_{k}": value for k, value in enumerate(after or ())}
    rows = db.execute(query, given | places).all()
    last = rows[limit - 1][-n_columns:] if len(rows) > limit else None
    more = None if last is None else tuple(float(value) for value in last)
    return [_cut(_item(about, row)) for row in rows[:limit]], more


def count_items(db: Connection, actor: Actor, project: str, **conditions: Any) -> int:
    """How many items meet the conditions.

    `state` open, answered, accepted or flagged; `label` the class as it stands; `decided` whether
    an expert has; `at_least` and `at_most` bounds of the confidence; `search` a part of the name or
    payload, in any case; `worker` who voted; `voted` whether there is a vote or an answer.
    """
    about = read_project(db, actor, project, "read items")
    query = select(func.count()).select_from(_joined()).where(standings.c.project == about.id)
    return int(db.execute(query.where(*_conditions(about, **conditions))).scalar_one())


def read_media(db: Connection, actor: Actor, project: str, digest: str) -> tuple[str, bytes]:
    """Type and content of an image or sound of the project, by its SHA-256.

    Annotators may see the media of the project, since they judge them. Raises NotFoundError.
    """
    id = project_id(db, actor, project, "read guideline")
    here = (media.c.project == id) & (media.c.sha256 == digest)
    found = db.execute(select(media.c.mime, media.c.content).where(here)).first()
    if found is None:
        raise NotFoundError("there is no such image or sound")
    return found.mime, found.content


def label_now() -> ColumnElement[Any]:
    """The class of an item as it stands, in SQL."""
    return func.coalesce(standings.c.decision, standings.c.top)


def _joined() -> Any:
    both = (items.c.project == standings.c.project) & (items.c.number == standings.c.item)
    return standings.join(items, both)


def _rows() -> Any:
    columns = (
        standings.c.item, items.c.name, items.c.payload_kind, items.c.payload, standings.c.state,
        standings.c.n_votes, standings.c.decision, standings.c.top, standings.c.confidence,
        standings.c.posterior, standings.c.decision_seq,
    )  # fmt: skip
    return select(*columns).select_from(_joined()).where(standings.c.project == bindparam("here"))


@cache
def _page(order: str, descending: bool, onward: bool) -> Any:
    """A page of a list, from a place on if it goes `onward`; its last columns are the place."""
    by = ORDERS[order]
    query = _ROWS.add_columns(*(column.label(f"sorted_{k}") for k, column in enumerate(by)))
    if onward:
        here = tuple_(*by)
        place = tuple_(*(bindparam(f"place_{k}", type_=Float) for k in range(len(by))))
        query = query.where(here < place if descending else here > place)
    query = query.order_by(*(column.desc() if descending else column for column in by))
    return query.limit(bindparam("most"))


_ROWS = _rows()
_ONE = _ROWS.where(standings.c.item == bindparam("item"))
_NAMED_ONE = _ROWS.where(items.c.name == bindparam("item"))
_NAMED = select(items.c.name, items.c.number).where(
    items.c.project == bindparam("here"), items.c.name.in_(bindparam("wanted", expanding=True))
)
_STANDING = (
    select(standings.c.item, standings.c.state, standings.c.decision_seq)
    .select_from(_joined())
    .where(standings.c.project == bindparam("here"), items.c.name == bindparam("name"))
)


def _conditions(
    about: Project,
    *,
    state: str | None = None,
    label: str | None = None,
    decided: bool | None = None,
    voted: bool | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    search: str | None = None,
    worker: int | None = None,
) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if state is not None:
        if state not in STATES:
            raise SettingsError(f"state {state!r} is not one of {', '.join(STATES)}")
        found.append(standings.c.state == STATES[state])
    if label is not None:
        found.append(label_now() == about.code(label))
    if decided is not None:
        found.append(standings.c.decision.is_not(None) == decided)
    if voted is not None:
        found.append(standings.c.top.is_not(None) == voted)
    if at_least is not None:
        found.append(standings.c.confidence >= at_least)
    if at_most is not None:
        found.append(standings.c.confidence <= at_most)
    if search:
        shown = case((items.c.payload_kind.in_(("text", "json", "url")), items.c.payload))
        found.append(
            or_(items.c.name.icontains(search, autoescape=True),
                shown.icontains(search, autoescape=True))
        )  # fmt: skip
    if worker is not None:
        theirs = select(events.c.item).where(
            events.c.project == about.id, events.c.worker == worker, events.c.kind == "vote"
        )
        found.append(standings.c.item.in_(theirs))
    return found


def _item(about: Project, row: Any) -> Item:
    """An item of a row whose first columns are those of `_rows`."""
    number, name, kind, payload, state, n_votes, decision, top, confidence, posterior = row[:10]
    n_classes = len(about.classes)
    shares = [1 / n_classes] * n_classes if posterior is None else _doubles(posterior)
    code = top if decision is None else decision
    return Item(
        number=number,
        name=name,
        payload_kind=kind,
        payload=payload,
        state=STATE_NAMES[state],
        n_votes=n_votes,
        label=None if code is None else about.classes[code],
        decided=decision is not None,
        confidence=confidence,
        posterior=dict(zip(about.classes, shares, strict=False)),
    )


def _doubles(content: bytes) -> list[float]:
    return array("d", content).tolist()


def _cut(item: Item) -> Item:
    if (
        item.payload is None
        or len(item.payload) <= SHOWN
        or item.payload_kind in ("image", "audio")
    ):
        return item
    return replace(item, payload=item.payload[:SHOWN] + "…")
