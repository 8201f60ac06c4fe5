"""JSON: one object a line, or one list of objects."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from crowdlearn.errors import VotesError
from crowdlearn.reading.parts import Batch, Part
from crowdlearn.reading.streams import refused

CHUNK = 50_000  # records
Numbered = tuple[int, dict[str, Any]]


def json_records(name: str, stream: io.BufferedIOBase) -> Iterator[Numbered]:
    """Every object of a JSON or JSON Lines file with its line, or its place in the list, from 1.

    Raises VotesError for text that is not JSON, or holds anything but objects.
    """
    with refused(name):
        for number, line in enumerate(stream, start=1):
            line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if line.lstrip()[:1] == b"[":
                yield from _listed(name, line + stream.read())
                return
            if line.strip():
                yield number, _object(name, number, line)


def records_part(name: str, records: Iterator[Numbered]) -> Part:
    """Objects as rows. Strings stay, numbers and booleans become strings, null is missing."""
    start = list(itertools.islice(records, 100))
    names = tuple(dict.fromkeys(key for _, record in start for key in record))
    everything = itertools.chain(start, records)
    return Part(name, names, lambda wanted: batched(name, everything, wanted))


def batched(name: str, records: Iterator[Numbered], wanted: Sequence[str]) -> Iterator[Batch]:
    """Some keys of the objects as columns of strings."""
    while chunk := list(itertools.islice(records, CHUNK)):
        yield _batch(name, chunk, wanted)


def _object(name: str, number: int, line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except UnicodeDecodeError as error:
        raise VotesError(f"{name}, row {number}: is not UTF-8 text: save it as UTF-8") from error
    except json.JSONDecodeError as error:
        raise VotesError(
            f"{name}, row {number}: is not JSON ({error}); needed is one object a line, or one list"
        ) from error
    if not isinstance(value, dict):
        raise VotesError(f"{name}, row {number}: {str(value)[:40]!r} is not a JSON object")
    return value


def _listed(name: str, text: bytes) -> Iterator[Numbered]:
    try:
        values = json.loads(text)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise VotesError(f"{name}: is not JSON: {error}") from error
    for number, value in enumerate(values, start=1):
        if not isinstance(value, dict):
            raise VotesError(f"{name}, row {number}: {str(value)[:40]!r} is not a JSON object")
        yield number, value


def _batch(name: str, chunk: list[Numbered], wanted: Sequence[str]) -> Batch:
    columns = {}
    for column in wanted:
        values = [record.get(column) for _, record in chunk]
        if any(type(value) is not str for value in values):
            values = [_text(name, row, column, r.get(column)) for row, r in chunk]
        try:
            columns[column] = pa.array(values, pa.string())
        except UnicodeEncodeError as error:  # half a surrogate pair
            at = values.index(error.object)
            raise VotesError(
                f"{name}, row {chunk[at][0]}, column {column!r}: {error.object!r} is not text"
            ) from error
    rows = [row for row, _ in chunk]
    dense = range(rows[0], rows[0] + len(rows))  # remembered in no space
    return Batch(columns, dense if rows == list(dense) else rows)


def _text(name: str, row: int, column: str, value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return None if value != value else str(value)
    raise VotesError(
        f"{name}, row {row}, column {column!r}: {json.dumps(value)[:60]} is not a string or number"
    )
