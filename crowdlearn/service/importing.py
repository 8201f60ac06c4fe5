"""Files come in: first a preview that changes nothing, then all of it in one transaction, or none.

Votes      task, worker, label; as `crowdlearn.read_votes` reads them. A file sent again, or one
           that has grown, adds what is new: a vote is known if the project has as many votes of
           this worker with this label on this item already.
Items      task and one of the columns text, json, url, image, audio; an archive (.zip) of images or
           sounds makes items named as its files.
Answers    task, label: what an expert knows.
"""

from __future__ import annotations

import csv
import io
import json
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int64
from sqlalchemy import Connection, select

from crowdlearn.errors import CrowdlearnError, SettingsError, VotesError
from crowdlearn.io import read_labels, read_votes
from crowdlearn.service.access import Actor
from crowdlearn.service.answers import answer
from crowdlearn.service.items import find_items
from crowdlearn.service.log import MANY, decisions
from crowdlearn.service.log import read_votes as logged_votes
from crowdlearn.service.new_items import (
    LARGEST_FILE,
    NewItem,
    add_items,
    check_item,
    check_name,
    insert_named,
    media_type,
)
from crowdlearn.service.projects import Project, change_project, read_project
from crowdlearn.service.trail import record
from crowdlearn.service.votes import append_columns, find_workers, insert_workers
from crowdlearn.soft_votes import SoftVotes
from crowdlearn.store.database import lock_project, refresh_statistics
from crowdlearn.store.tables import items, workers
from crowdlearn.votes import Votes

KINDS = ("votes", "items", "answers")
PAYLOAD_COLUMNS = ("text", "json", "url", "image", "audio")
ITEM_COLUMNS = ("task", "item", "id")
MOST_FILES = 100_000  # in an archive
LARGEST_ARCHIVE = 1 << 30  # bytes when unpacked
MOST_SQUEEZED = 200  # how many times smaller an archive may be than its contents
SHOWN = 5  # rows of a preview
DAMAGED = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, UnicodeError, RuntimeError,
    NotImplementedError, EOFError, OSError,
)  # fmt: skip
"""What reading an archive may raise, whatever is in it."""
FEW = 5000  # names that are looked up one by one


@dataclass(frozen=True, eq=False)
class Upload:
    """A file that has been read and checked, but not compared with any project yet."""

    name: str
    kind: str
    votes: Votes | None = None
    items: tuple[NewItem, ...] = ()
    answers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Preview:
    """What importing an upload would do to a project.

    `n_new` rows would be added (or give an item its payload), `n_known` are there already;
    `unknown_classes` must be added to the project before, or with, the import; `problem` says why
    it cannot be imported as it is.
    """

    kind: str
    n_rows: int
    n_new: int
    n_known: int
    n_new_items: int
    n_new_workers: int
    unknown_classes: tuple[str, ...]
    sample: tuple[dict[str, str], ...]
    problem: str | None = None


def read_upload(
    path: str | Path,
    kind: str,
    *,
    name: str | None = None,
    columns: Mapping[str, str] | None = None,
    classes: Sequence[str] | None = None,
    media_root: str | Path | None = None,
) -> Upload:
    """Read a file. `name` is what errors call it; `classes` are the project's, needed for answers.

    Files that items name in a column image or audio are read from `media_root` and from nowhere
    else. Raises VotesError or SettingsError naming file, row and column.
    """
    if kind not in KINDS:
        raise SettingsError(f"kind {kind!r} is not one of {', '.join(KINDS)}")
    shown = name or str(path)
    with _called(path, shown):
        if kind == "votes":
            votes = _known_or_new(path, columns, classes)
            if isinstance(votes, SoftVotes):
                raise VotesError(f"{shown}: holds probabilities; a project keeps plain labels only")
            _check_names(shown, votes)
            return Upload(shown, kind, votes=votes)
        if kind == "answers":
            return Upload(shown, kind, answers=read_labels(str(path), list(classes or ())))
        if zipfile.is_zipfile(path):
            return Upload(shown, kind, items=tuple(_from_archive(Path(path), shown)))
        root = None if media_root is None else Path(media_root)
        return Upload(shown, kind, items=tuple(_from_rows(Path(path), shown, root)))


def preview(db: Connection, actor: Actor, project: str, upload: Upload) -> Preview:
    """What importing would do; nothing is changed."""
    about = read_project(db, actor, project, "import")
    if upload.votes is not None:
        return _preview_votes(db, about, upload.votes)
    if upload.kind == "items":
        return _preview_items(db, about, upload.items)
    return _preview_answers(db, about, upload.answers)


def perform(
    db: Connection, actor: Actor, project: str, upload: Upload, *, add_classes: bool = False
) -> Preview:
    """Import, all or nothing; what was done. `add_classes` adds classes that the project lacks.

    Raises SettingsError for unknown classes without it, and ConflictError.
    """
    lock_project(db, read_project(db, actor, project, "import").id)
    about = read_project(db, actor, project, "import")
    done = preview(db, actor, project, upload)
    if done.unknown_classes and add_classes and upload.votes is not None:
        change_project(db, actor, project, add_classes=list(done.unknown_classes))
        about = read_project(db, actor, project, "import")
    elif done.problem is not None:
        raise SettingsError(f"{upload.name}: {done.problem}")
    if upload.votes is not None:
        _import_votes(db, actor, about, upload.votes)
    elif upload.kind == "items":
        add_items(db, actor, project, upload.items)
    else:
        _import_answers(db, actor, about, upload.answers)
    if done.n_new > FEW:
        refresh_statistics(db)
    record(db, actor, about.id, f"import {upload.kind}", file=upload.name, n_new=done.n_new)
    return done


def _preview_votes(db: Connection, about: Project, votes: Votes) -> Preview:
    item, worker = _numbers(db, about, votes)
    unknown = tuple(name for name in votes.classes if name not in about.classes)
    fresh = _fresh(db, about, votes, item, worker)
    table = (
        votes.to_table()
        .slice(0, SHOWN)
        .cast(pa.schema([(n, pa.string()) for n in ("task", "worker", "label")]))
    )
    n_new = int(fresh.sum())
    problem = None
    if unknown:
        listed = ", ".join(unknown[:5]) + ("…" if len(unknown) > 5 else "")
        problem = f"has labels that are no classes of the project: {listed}"
    return Preview(
        "votes", votes.n_votes, n_new, votes.n_votes - n_new, int((item < 0).sum()),
        int((worker < 0).sum()), unknown, tuple(table.to_pylist()), problem,
    )  # fmt: skip


def _preview_items(db: Connection, about: Project, new: Sequence[NewItem]) -> Preview:
    known = find_items(db, about.id, [item.name for item in new])
    sample = tuple(
        {"item": item.name, "kind": item.kind, "payload": _shown(item)} for item in new[:SHOWN]
    )
    bare = _without_payload(db, about.id, known.values())
    n_filled = sum(1 for item in new if item.kind != "none" and known.get(item.name) in bare)
    n_known = len(known) - n_filled
    return Preview(
        "items", len(new), len(new) - n_known, n_known, len(new) - len(known), 0, (), sample
    )


def _without_payload(db: Connection, project: int, numbers: Iterable[int]) -> set[int]:
    """The items, of these, that a payload may still be given to."""
    found: set[int] = set()
    left = iter(numbers)
    while part := list(islice(left, MANY)):
        query = select(items.c.number).where(
            items.c.project == project, items.c.number.in_(part), items.c.payload_kind == "none"
        )
        found |= set(db.execute(query).scalars())
    return found


def _preview_answers(db: Connection, about: Project, answers: Mapping[str, str]) -> Preview:
    known = find_items(db, about.id, list(answers))
    stand = decisions(db, about.id, known.values())
    n_known = sum(
        1 for name, number in known.items()
        if stand.get(number) and about.classes[stand[number][-1].label] == answers[name]
    )  # fmt: skip
    missing = [name for name in answers if name not in known]
    problem = None
    if missing:
        problem = f"{len(missing):,} items are not in the project, the first {missing[0]!r}"
    other = [
        name for name, number in known.items()
        if stand.get(number) and about.classes[stand[number][-1].label] != answers[name]
    ]  # fmt: skip
    if other and problem is None:
        problem = f"{len(other):,} items have another answer already, the first {other[0]!r}"
    sample = tuple({"item": n, "label": k} for n, k in list(answers.items())[:SHOWN])
    return Preview(
        "answers", len(answers), len(answers) - n_known, n_known, 0, 0, (), sample, problem
    )


def _import_votes(db: Connection, actor: Actor, about: Project, votes: Votes) -> None:
    item, worker = _numbers(db, about, votes)
    fresh = _fresh(db, about, votes, item, worker)
    item_names = votes.items.cast(pa.string()).to_pylist()
    worker_names = votes.workers.cast(pa.string()).to_pylist()
    new = np.flatnonzero(item < 0)
    item[new] = list(insert_named(db, about, [item_names[i] for i in new]).values())
    new = np.flatnonzero(worker < 0)
    worker[new] = list(insert_workers(db, about, [worker_names[w] for w in new]).values())
    label = np.array([about.code(name) for name in votes.classes], dtype=np.int64)
    append_columns(
        db, about, item[votes.item[fresh]], worker[votes.worker[fresh]],
        label[votes.label[fresh]], actor.name,
    )  # fmt: skip


def _import_answers(
    db: Connection, actor: Actor, about: Project, answers: Mapping[str, str]
) -> None:
    known = find_items(db, about.id, list(answers))
    stand = decisions(db, about.id, known.values())
    for name, label in answers.items():
        if not stand.get(known[name]):
            answer(db, actor, about.name, name, label)


def _numbers(
    db: Connection, about: Project, votes: Votes
) -> tuple[Int64[np.ndarray, " item"], Int64[np.ndarray, " worker"]]:
    """The project's numbers of the items and workers; -1 for new ones."""
    item_names = votes.items.cast(pa.string()).to_pylist()
    worker_names = votes.workers.cast(pa.string()).to_pylist()
    if len(item_names) > FEW:
        query = select(items.c.name, items.c.number).where(items.c.project == about.id)
        items_known = dict(db.execute(query).all())
    else:
        items_known = find_items(db, about.id, item_names)
    if len(worker_names) > FEW:
        query = select(workers.c.name, workers.c.number).where(workers.c.project == about.id)
        workers_known = dict(db.execute(query).all())
    else:
        workers_known = find_workers(db, about.id, worker_names)
    return (
        np.array([items_known.get(name, -1) for name in item_names], dtype=np.int64),
        np.array([workers_known.get(name, -1) for name in worker_names], dtype=np.int64),
    )


def _fresh(
    db: Connection,
    about: Project,
    votes: Votes,
    item: Int64[np.ndarray, " item"],
    worker: Int64[np.ndarray, " worker"],
) -> Bool[np.ndarray, " vote"]:
    """Which votes the project does not have: each one more than it has of the same."""
    place = {name: code for code, name in enumerate(about.classes)}
    label = np.array([place.get(name, -1) for name in votes.classes], dtype=np.int64)
    mine = (item[votes.item], worker[votes.worker], label[votes.label])
    known = (mine[0] >= 0) & (mine[1] >= 0) & (mine[2] >= 0)
    if not known.any():
        return np.ones(votes.n_votes, dtype=np.bool_)
    had = logged_votes(db, about.id, 0, about.n_events)
    code = _triples(about, *(column[known] for column in mine))
    codes, times = np.unique(_triples(about, had.item, had.worker, had.label), return_counts=True)
    place_of = np.searchsorted(codes, code)
    inside = np.minimum(place_of, len(codes) - 1)
    n_had = np.where((place_of < len(codes)) & (codes[inside] == code), times[inside], 0)
    fresh = np.ones(votes.n_votes, dtype=np.bool_)
    fresh[known] = _occurrence(code) >= n_had
    return fresh


def _triples(about: Project, item: np.ndarray, worker: np.ndarray, label: np.ndarray) -> np.ndarray:
    found: np.ndarray = (item * max(about.n_workers, 1) + worker) * len(about.classes) + label
    return found


def _occurrence(code: np.ndarray) -> np.ndarray:
    """For every entry, how many like it come before."""
    order = np.argsort(code, kind="stable")
    ordered = code[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    sizes = np.diff(np.concatenate([starts, [len(code)]]))
    found = np.empty(len(code), dtype=np.int64)
    found[order] = np.arange(len(code)) - np.repeat(starts, sizes)
    return found


def _known_or_new(
    path: str | Path, columns: Mapping[str, str] | None, classes: Sequence[str] | None
) -> Votes | SoftVotes:
    """Votes with these classes, of which a file may hold one alone; with its own where it has
    others."""
    if classes:
        try:
            return read_votes(str(path), columns=columns, classes=list(classes))
        except VotesError:  # the second reading says what is wrong
            pass
    return read_votes(str(path), columns=columns)


def _check_names(shown: str, votes: Votes) -> None:
    for what, names in (("item", votes.items), ("worker", votes.workers)):
        for name in names.cast(pa.string()).to_pylist():
            try:
                check_name(what, name)
            except SettingsError as error:
                raise SettingsError(f"{shown}: {error}") from error


def _from_rows(path: Path, shown: str, root: Path | None) -> Iterator[NewItem]:
    """Items of a CSV, JSON Lines or Parquet file."""
    for number, row in _rows(path, shown):
        where = f"{shown}, row {number}"
        named = [c for c in ITEM_COLUMNS if row.get(c) not in (None, "")]
        if not named:
            raise VotesError(f"{where}: has no name in a column task or item")
        given = [c for c in PAYLOAD_COLUMNS if row.get(c) not in (None, "")]
        if len(given) > 1:
            raise VotesError(
                f"{where}: has both {given[0]} and {given[1]}; an item has one payload"
            )
        item = NewItem(name=str(row[named[0]]))
        if given:
            item = _with_payload(where, str(row[named[0]]), given[0], row[given[0]], root)
        try:
            check_item(item)
        except SettingsError as error:
            raise VotesError(f"{where}: {error}") from error
        yield item


def _with_payload(where: str, name: str, kind: str, value: Any, root: Path | None) -> NewItem:
    if kind not in ("image", "audio"):
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return NewItem(name=name, kind=kind, payload=text)
    if root is None:
        raise VotesError(
            f"{where}: names a file in the column {kind}; say where such files are (--media-root), "
            "or give an archive (.zip) of them"
        )
    file = (root / str(value)).resolve()
    if not file.is_relative_to(root.resolve()):
        raise VotesError(f"{where}: {value!r} lies outside of the folder of such files")
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise VotesError(f"{where}: {value!r} is larger than {LARGEST_FILE:,} bytes")
        return NewItem(name=name, kind=kind, content=file.read_bytes())
    except OSError as error:
        raise VotesError(f"{where}: {value!r} cannot be read: {error.strerror}") from error


def _rows(path: Path, shown: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows with their numbers; the header of a CSV file is row 1."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(path)
        except (pa.ArrowException, OSError) as error:
            raise VotesError(f"{shown}: is no Parquet file ({error})") from error
        yield from enumerate(table.to_pylist(), 1)
        return
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise VotesError(f"{shown}: is not UTF-8 text ({error})") from error
    if path.suffix in (".jsonl", ".ndjson", ".json"):
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise VotesError(f"{shown}, row {number}: is no JSON ({error})") from error
            if not isinstance(row, dict):
                raise VotesError(f"{shown}, row {number}: is no JSON object")
            yield number, row
        return
    reader = csv.DictReader(io.StringIO(text))
    try:
        columns = [str(name)[:60] for name in reader.fieldnames or ()]
        if not set(columns) & set(ITEM_COLUMNS):
            raise VotesError(
                f"{shown}: has the columns {', '.join(columns[:20]) or '(none)'}; "
                "one named task or item is needed"
            )
        yield from ((reader.line_num, row) for row in reader)
    except csv.Error as error:
        raise VotesError(f"{shown}, row {reader.line_num}: {error}") from error


def _from_archive(path: Path, shown: str) -> Iterator[NewItem]:
    """Items named as the images and sounds in an archive."""
    total = 0
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            _check_archive(path, shown, entries)
            for entry in entries:
                name = PurePosixPath(entry.filename)
                if name.name.startswith(".") or name.parts[0] == "__MACOSX":
                    continue
                with archive.open(entry) as stream:
                    content = stream.read(LARGEST_FILE + 1)
                total += len(content)
                if len(content) > LARGEST_FILE or total > LARGEST_ARCHIVE:
                    raise VotesError(f"{shown}: {entry.filename!r} is too large")
                kind = (media_type(content) or "").split("/")[0]
                if kind not in ("image", "audio"):
                    raise VotesError(
                        f"{shown}: {entry.filename!r} is no image or sound that can be shown"
                    )
                item = NewItem(name=str(name), kind=kind, content=content)
                check_item(item)
                yield item
    except DAMAGED as error:
        raise VotesError(f"{shown}: the archive cannot be read: {error}") from error


def _check_archive(path: Path, shown: str, entries: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse an archive that would unpack to too much, or leads elsewhere."""
    size = sum(entry.file_size for entry in entries)
    if len(entries) > MOST_FILES or size > LARGEST_ARCHIVE:
        raise VotesError(
            f"{shown}: unpacks to {len(entries):,} files of {size:,} bytes, where "
            f"{MOST_FILES:,} and {LARGEST_ARCHIVE:,} may be: split it"
        )
    if size > MOST_SQUEEZED * max(path.stat().st_size, 1):
        raise VotesError(f"{shown}: unpacks to over {MOST_SQUEEZED} times its size; not opened")
    for entry in entries:
        name = PurePosixPath(entry.filename)
        if name.is_absolute() or ".." in name.parts or "\\" in entry.filename:
            raise VotesError(f"{shown}: {entry.filename!r} leads out of the archive; not opened")


def _shown(item: NewItem) -> str:
    if item.content is not None:
        return f"{len(item.content):,} bytes"
    return (item.payload or "")[:100]


@contextmanager
def _called(path: str | Path, shown: str) -> Iterator[None]:
    """Errors call the file as the person does, not by where it was put."""
    try:
        yield
    except CrowdlearnError as error:
        if str(path) == shown or str(path) not in str(error):
            raise
        raise type(error)(str(error).replace(str(path), shown)) from error
