"""What a project knows, as files: labels, votes, answers, workers, in four formats.

In CSV a text that a spreadsheet would read as a formula gets an apostrophe before it, unless `raw`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Connection, select

from crowdlearn.errors import SettingsError
from crowdlearn.service.access import Actor
from crowdlearn.service.items import STATE_NAMES
from crowdlearn.service.projects import Project, read_project
from crowdlearn.service.trail import record
from crowdlearn.store.bulk import chunks
from crowdlearn.store.tables import events, items, standings, workers

CONTENTS = ("labels", "votes", "answers", "workers")
FORMATS = {"csv": ".csv", "parquet": ".parquet", "jsonl": ".jsonl", "label-studio": ".json"}
READ_AT_ONCE = 10_000
RISKY = "=+-@\t\r\n"


@runtime_checkable
class Sink(Protocol):
    """A file, or whatever else takes bytes."""

    def write(self, content: bytes, /) -> Any: ...


class _Encoded:
    """Takes text, and writes it to a sink as UTF-8."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink

    def write(self, text: str, /) -> None:
        self.sink.write(text.encode())


def export(
    db: Connection,
    actor: Actor,
    project: str,
    file: Sink,
    *,
    what: str = "labels",
    format: str = "csv",
    raw: bool = False,
) -> int:
    """Write an export to an open file, row by row; the number of rows.

    Label Studio's format holds items with the votes as annotations and the label as a prediction.
    Raises SettingsError for an unknown content or format.
    """
    about = read_project(db, actor, project, "export")
    if what not in CONTENTS:
        raise SettingsError(f"content {what!r} is not one of {', '.join(CONTENTS)}")
    if format not in FORMATS:
        raise SettingsError(f"format {format!r} is not one of {', '.join(FORMATS)}")
    if format == "label-studio":
        if what != "labels":
            raise SettingsError(
                "Label Studio's format holds labels and votes together: ask for labels"
            )
        return _write_label_studio(db, about, file)
    rows = _rows(db, about, what)
    if format == "csv":
        return _write_csv(rows, _columns(about, what), file, raw=raw)
    if format == "jsonl":
        return _write_lines(rows, file)
    return _write_parquet(rows, _schema(about, what), file)


def note_export(db: Connection, actor: Actor, project: str, what: str, format: str) -> None:
    """Keep in the audit trail that somebody took data out."""
    about = read_project(db, actor, project, "export")
    record(db, actor, about.id, "export", what=what, format=format)


def safe(value: Any) -> Any:
    """A value that a spreadsheet takes for what it is, and not for a formula."""
    if not isinstance(value, str) or not value or value[0] not in RISKY:
        return value
    try:
        float(value)
    except ValueError:
        return "'" + value
    return value


def _rows(db: Connection, about: Project, what: str) -> Iterator[dict[str, Any]]:
    if what == "labels":
        return _labels(db, about)
    if what == "workers":
        return _workers(db, about)
    return _said(db, about, "vote" if what == "votes" else None)


def _labels(db: Connection, about: Project) -> Iterator[dict[str, Any]]:
    both = (items.c.project == standings.c.project) & (items.c.number == standings.c.item)
    query = (
        select(items.c.name, standings)
        .join(items, both)
        .where(standings.c.project == about.id)
        .order_by(standings.c.item)
    )
    for row in _stream(db, query):
        code = row.top if row.decision is None else row.decision
        posterior = _posterior(about, row.posterior)
        yield {
            "task": row.name,
            "label": None if code is None else about.classes[code],
            "confidence": row.confidence,
            "n_votes": row.n_votes,
            "state": STATE_NAMES[row.state],
            "source": "expert" if row.decision is not None else "crowd",
            **{f"p_{name}": p for name, p in zip(about.classes, posterior, strict=True)},
        }


def _said(db: Connection, about: Project, kind: str | None) -> Iterator[dict[str, Any]]:
    """Votes, or everything else that was said of items."""
    both = (items.c.project == events.c.project) & (items.c.number == events.c.item)
    whose = (workers.c.project == events.c.project) & (workers.c.number == events.c.worker)
    query = (
        select(items.c.name, workers.c.name.label("worker_name"), events)
        .join(items, both)
        .outerjoin(workers, whose)
        .where(events.c.project == about.id)
        .where(events.c.kind == "vote" if kind else events.c.kind != "vote")
        .order_by(events.c.seq)
    )
    for row in _stream(db, query):
        label = None if row.label is None else about.classes[row.label]
        if kind:
            yield {"task": row.name, "worker": row.worker_name, "label": label, "at": row.at}
        else:
            yield {
                "seq": row.seq, "task": row.name, "kind": row.kind, "label": label,
                "actor": row.actor, "undoes": row.undoes, "at": row.at,
                "text": (row.more or {}).get("text"),
            }  # fmt: skip


def _workers(db: Connection, about: Project) -> Iterator[dict[str, Any]]:
    query = select(workers).where(workers.c.project == about.id).order_by(workers.c.number)
    for row in _stream(db, query):
        yield {
            "worker": row.name, "n_votes": row.n_votes, "accuracy": row.accuracy,
            "accuracy_low": row.low, "accuracy_high": row.high, "flag": row.flag,
        }  # fmt: skip


def _stream(db: Connection, query: Any) -> Iterator[Any]:
    found = db.execute(query, execution_options={"yield_per": READ_AT_ONCE})
    for part in found.partitions():
        yield from part


def _posterior(about: Project, content: bytes | None) -> list[float]:
    n = len(about.classes)
    if content is None:
        return [1 / n] * n
    known = np.frombuffer(content)
    return [*known.tolist(), *[0.0] * (n - len(known))]


def _schema(about: Project, what: str) -> pa.Schema:
    text, number, real = pa.string(), pa.int64(), pa.float64()
    columns = {
        "labels": [("task", text), ("label", text), ("confidence", real), ("n_votes", number),
                   ("state", text), ("source", text), *((f"p_{c}", real) for c in about.classes)],
        "votes": [("task", text), ("worker", text), ("label", text), ("at", number)],
        "answers": [("seq", number), ("task", text), ("kind", text), ("label", text),
                    ("actor", text), ("undoes", number), ("at", number), ("text", text)],
        "workers": [("worker", text), ("n_votes", number), ("accuracy", real),
                    ("accuracy_low", real), ("accuracy_high", real), ("flag", text)],
    }  # fmt: skip
    return pa.schema(columns[what])


def _columns(about: Project, what: str) -> list[str]:
    return list(_schema(about, what).names)


def _write_csv(rows: Iterator[dict[str, Any]], columns: list[str], file: Sink, *, raw: bool) -> int:
    writer = csv.writer(_Encoded(file))
    keep = (lambda value: value) if raw else safe
    writer.writerow([keep(name) for name in columns])
    n = 0
    for row in rows:
        writer.writerow([keep(row[name]) for name in columns])
        n += 1
    return n


def _write_lines(rows: Iterator[dict[str, Any]], file: Sink) -> int:
    n = 0
    for row in rows:
        file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        n += 1
    return n


def _write_parquet(rows: Iterator[dict[str, Any]], schema: pa.Schema, file: Sink) -> int:
    n = 0
    with pq.ParquetWriter(file, schema) as writer:
        for part in chunks(rows, READ_AT_ONCE):
            writer.write_table(pa.Table.from_pylist(part, schema=schema))
            n += len(part)
    return n


def _write_label_studio(db: Connection, about: Project, file: Sink) -> int:
    """A JSON array of tasks, a page of items at a time."""
    both = (items.c.project == standings.c.project) & (items.c.number == standings.c.item)
    file.write(b"[")
    n, after = 0, -1
    while True:
        query = (
            select(items.c.name, items.c.payload_kind, items.c.payload, standings)
            .join(items, both)
            .where(standings.c.project == about.id, standings.c.item > after)
            .order_by(standings.c.item)
            .limit(READ_AT_ONCE)
        )
        rows = db.execute(query).all()
        if not rows:
            break
        after = rows[-1].item
        votes = _votes_of(db, about.id, rows[0].item, after)
        for row in rows:
            task = _task(about, row, votes.get(row.item, []))
            file.write((b",\n" if n else b"\n") + json.dumps(task, ensure_ascii=False).encode())
            n += 1
    file.write(b"\n]\n")
    return n


def _votes_of(db: Connection, project: int, first: int, last: int) -> dict[int, list[Any]]:
    whose = (workers.c.project == events.c.project) & (workers.c.number == events.c.worker)
    query = (
        select(events.c.item, events.c.label, workers.c.name)
        .join(workers, whose)
        .where(events.c.project == project, events.c.item >= first, events.c.item <= last)
        .where(events.c.kind == "vote")
        .order_by(events.c.item, events.c.seq)
    )
    found: dict[int, list[Any]] = {}
    for row in db.execute(query):
        found.setdefault(row.item, []).append(row)
    return found


def _task(about: Project, row: Any, votes: list[Any]) -> dict[str, Any]:
    data = {"task": row.name}
    if row.payload_kind in ("text", "json", "url"):
        data[row.payload_kind] = row.payload
    code = row.top if row.decision is None else row.decision
    annotations = [
        {"completed_by": {"email": vote.name}, "result": _choice(about.classes[vote.label])}
        for vote in votes
    ]
    predictions = [
        {
            "model_version": f"crowdlearn {about.settings.method}",
            "score": row.confidence,
            "result": _choice(about.classes[code]),
        }
        for _ in range(code is not None)
    ]
    found = {"id": row.item + 1, "data": data, "annotations": annotations}
    return found | {"predictions": predictions}


def _choice(label: str) -> list[dict[str, Any]]:
    return [
        {
            "from_name": "label", "to_name": "item", "type": "choices",
            "value": {"choices": [label]},
        }
    ]  # fmt: skip
