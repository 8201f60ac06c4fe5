"""New items: checked, and added by name with what there is to see or hear."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from sqlalchemy import Connection, insert, select, update

from crowdlearn.errors import ConflictError, SettingsError
from crowdlearn.service.access import Actor
from crowdlearn.service.items import find_items
from crowdlearn.service.projects import Project, read_project
from crowdlearn.service.urgency import initial_rank
from crowdlearn.store.bulk import insert_rows
from crowdlearn.store.database import lock_project
from crowdlearn.store.tables import OPEN, PAYLOAD_KINDS, items, media, projects, standings

LONGEST_NAME, LONGEST_TEXT, LARGEST_FILE = 500, 1 << 20, 20 << 20


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


def insert_named(db: Connection, about: Project, names: Iterable[str]) -> dict[str, int]:
    """Add items that have no payload; the caller knows that they are new, and holds the lock."""
    return _insert(db, about, [NewItem(name=name) for name in names])


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
