"""Items: what is judged. Added by name, listed in pages, shown in full."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Float,
    bindparam,
    case,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)

from crowdlearn.errors import ConflictError, NotFoundError, SettingsError
from crowdlearn.service.access import Actor, project_id
from crowdlearn.service.log import MANY
from crowdlearn.service.projects import Project, read_project
from crowdlearn.service.urgency import initial_rank
from crowdlearn.store.bulk import insert_rows
from crowdlearn.store.database import lock_project
from crowdlearn.store.tables import (
    ACCEPTED,
    ANSWERED,
    FLAGGED,
    OPEN,
    PAYLOAD_KINDS,
    events,
    items,
    media,
    projects,
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
LONGEST_NAME, LONGEST_TEXT, LARGEST_FILE = 500, 1 << 20, 20 << 20
MOST_ROWS = 500  # of a page
SHOWN = 200  # characters of a payload in a list


@dataclass(frozen=True, kw_only=True)
class NewItem:
    """An item to add: a name, and what there is to see or hear.

    `payload` is the text, JSON text or address of kinds text, json and url; `content` the bytes of
    kinds image and audio, whose type is found from the bytes themselves.
    """

    name: str
    kind: str = "none"
    payload: str | None = None
    content: bytes | None = None


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


def add_items(db: Connection, actor: Actor, project: str, new: Sequence[NewItem]) -> int:
    """Add items; how many are new. An item that is there with this payload, or without any, is
    kept (and gets the payload).

    Raises SettingsError for an unusable name or payload, and ConflictError where an item has
    another payload already; nothing is then added.
    """
    about = read_project(db, actor, project, "add items")
    lock_project(db, about.id)
    for item in new:
        check_item(item)
    by_name = {item.name: item for item in new}
    if len(by_name) < len(new):
        names = [item.name for item in new]
        twice = next(name for name in names if names.count(name) > 1)
        raise ConflictError(f"item {twice!r} is given twice")
    known = find_items(db, about.id, list(by_name))
    _fill_in(db, about.id, [by_name[name] for name in known], known)
    fresh = [item for name, item in by_name.items() if name not in known]
    _insert(db, about, fresh)
    return len(fresh)


def find_items(db: Connection, project: int, names: Sequence[str]) -> dict[str, int]:
    """Numbers of the items of these names, where there are any."""
    found: dict[str, int] = {}
    for start in range(0, len(names), MANY):
        part = names[start : start + MANY]
        rows = db.execute(_NAMED, {"here": project, "wanted": part})
        found |= {row.name: row.number for row in rows}
    return found


def insert_named(db: Connection, about: Project, names: Iterable[str]) -> dict[str, int]:
    """Add items that have no payload; the caller knows that they are new, and holds the lock."""
    return _insert(db, about, [NewItem(name=name) for name in names])


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


def media_type(content: bytes) -> str | None:
    """The type of an image or sound by its first bytes; None for what is not shown here.

    SVG is not: it can hold scripts.
    """
    starts = {
        b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif",
        b"ID3": "audio/mpeg", b"\xff\xfb": "audio/mpeg", b"OggS": "audio/ogg",
        b"fLaC": "audio/flac",
    }  # fmt: skip
    for start, kind in starts.items():
        if content.startswith(start):
            return kind
    if content[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(content[8:12])
    return None


def check_item(item: NewItem) -> None:
    """Raises SettingsError for an item that cannot be kept as it is."""
    check_name("item", item.name)
    if item.kind not in PAYLOAD_KINDS:
        raise SettingsError(
            f"item {item.name!r}: kind {item.kind!r} is not one of {', '.join(PAYLOAD_KINDS)}"
        )
    if item.kind in ("image", "audio"):
        _check_file(item)
    elif item.kind == "none":
        if item.payload is not None or item.content is not None:
            raise SettingsError(f"item {item.name!r}: has a payload, but its kind says none")
    else:
        _check_text(item)


def check_name(what: str, name: str) -> None:
    """Raises SettingsError for a name that is empty, too long, or has control characters."""
    if not name or len(name) > LONGEST_NAME or any(ord(sign) < 32 for sign in name):
        raise SettingsError(
            f"{what} {name[:60]!r}: a name is 1 to {LONGEST_NAME} characters, none of them a "
            "control character"
        )
    if not _is_unicode(name):
        raise SettingsError(f"{what} {name[:60]!r}: a name holds no half of a surrogate pair")


def label_now() -> ColumnElement[Any]:
    """The class of an item as it stands, in SQL."""
    return func.coalesce(standings.c.decision, standings.c.top)


def _is_unicode(text: str) -> bool:
    """Whether the text can be kept as UTF-8: JSON can escape what cannot."""
    return not any(0xD800 <= ord(sign) < 0xE000 for sign in text)


def _check_file(item: NewItem) -> None:
    if not item.content:
        raise SettingsError(f"item {item.name!r}: a payload of kind {item.kind} needs its bytes")
    if len(item.content) > LARGEST_FILE:
        raise SettingsError(
            f"item {item.name!r}: {len(item.content):,} bytes, where {LARGEST_FILE:,} may be kept"
        )
    found = media_type(item.content)
    if found is None or not found.startswith(item.kind):
        raise SettingsError(
            f"item {item.name!r}: its bytes are no {item.kind} that can be shown: use PNG, JPEG, "
            "GIF, WebP, or WAV, MP3, Ogg, FLAC"
        )


def _check_text(item: NewItem) -> None:
    if item.payload is None or item.content is not None:
        raise SettingsError(f"item {item.name!r}: a payload of kind {item.kind} is text")
    if len(item.payload) > LONGEST_TEXT:
        raise SettingsError(
            f"item {item.name!r}: {len(item.payload):,} characters, where {LONGEST_TEXT:,} may be "
            "kept"
        )
    if "\x00" in item.payload:
        raise SettingsError(f"item {item.name!r}: its payload holds a NUL character")
    if not _is_unicode(item.payload):
        raise SettingsError(f"item {item.name!r}: its payload holds half of a surrogate pair")
    if item.kind == "url" and not item.payload.startswith(("https://", "http://")):
        raise SettingsError(f"item {item.name!r}: an address begins with https:// or http://")
    if item.kind == "json":
        import json

        try:
            json.loads(item.payload)
        except (ValueError, RecursionError) as error:
            raise SettingsError(f"item {item.name!r}: its payload is no JSON: {error}") from error


def _insert(db: Connection, about: Project, fresh: Sequence[NewItem]) -> dict[str, int]:
    """Append items and their standings."""
    if not fresh:
        return {}
    here = projects.c.id == about.id
    first = int(db.execute(select(projects.c.n_items).where(here)).scalar_one())
    places = range(first, first + len(fresh))
    payloads = [_stored(db, about.id, item) for item in fresh]
    insert_rows(
        db, items, ("project", "number", "name", "payload_kind", "payload"),
        (
            (about.id, number, item.name, item.kind, payload)
            for number, item, payload in zip(places, fresh, payloads, strict=True)
        ),
    )  # fmt: skip
    n = len(about.classes)
    rank, sure = initial_rank(about.settings.strategy, n), 1 / n
    insert_rows(
        db, standings, ("project", "item", "state", "n_votes", "wanted", "confidence", "rank"),
        ((about.id, number, OPEN, 0, 1, sure, rank) for number in places),
    )  # fmt: skip
    db.execute(update(projects).where(here).values(n_items=first + len(fresh)))
    return {item.name: number for number, item in zip(places, fresh, strict=True)}


def _fill_in(
    db: Connection, project: int, known: Sequence[NewItem], number: dict[str, int]
) -> None:
    """Payloads for items that have none yet."""
    for item in known:
        if item.kind == "none":
            continue
        here = (items.c.project == project) & (items.c.number == number[item.name])
        row = db.execute(select(items.c.payload_kind, items.c.payload).where(here)).one()
        payload = _stored(db, project, item)
        if row.payload_kind == "none":
            values = {"payload_kind": item.kind, "payload": payload}
            db.execute(update(items).where(here).values(**values))
        elif (row.payload_kind, row.payload) != (item.kind, payload):
            raise ConflictError(f"item {item.name!r} is there already, with another payload")


def _stored(db: Connection, project: int, item: NewItem) -> str | None:
    """What the item's row holds; files go into `media`."""
    if item.content is None:
        return item.payload
    digest = sha256(item.content).hexdigest()
    here = (media.c.project == project) & (media.c.sha256 == digest)
    if db.execute(select(media.c.sha256).where(here)).first() is None:
        db.execute(
            insert(media).values(
                project=project, sha256=digest, mime=media_type(item.content), content=item.content
            )
        )
    return digest


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
