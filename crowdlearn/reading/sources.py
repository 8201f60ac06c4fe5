"""Which files a source means, and which reader each one needs."""

from __future__ import annotations

import difflib
import glob
import io
import itertools
import os
import sys
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from crowdlearn.errors import VotesError
from crowdlearn.reading.delimited import csv_part
from crowdlearn.reading.formats import export_kind, export_part, export_table_part
from crowdlearn.reading.parquet import parquet_part, table_part
from crowdlearn.reading.parts import Part
from crowdlearn.reading.records import json_records, records_part
from crowdlearn.reading.remote import is_url, urls_of
from crowdlearn.reading.streams import opened, refused

ENDINGS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
}
"""File endings (before .gz) and their formats."""

EXPORTS = ("label-studio", "argilla")

FORMATS = ("csv", "json", "jsonl", "parquet", "wide", *EXPORTS)


def parts_of(
    source: Any, columns: Mapping[str, str], format: str | None
) -> Generator[Part, None, None]:
    """The inputs that a source means, one open at a time.

    A source is a path, a glob, a URL, a sequence of these, "-" for standard input, or a table that
    speaks the Arrow C stream. Raises VotesError for what cannot be found or told.
    """
    if format is not None and format not in FORMATS:
        raise VotesError(f"format {format!r} is not one of {', '.join(FORMATS)}")
    if hasattr(source, "__arrow_c_stream__"):
        yield _answers(table_part("table", source), columns)
    elif isinstance(source, (str, Path)):
        yield from _parts_of_path(str(source), columns, format)
    elif isinstance(source, Sequence) and source:
        for one in source:
            yield from parts_of(one, columns, format)
    else:
        raise VotesError(
            f"cannot read votes from {type(source).__name__} {str(source)[:60]!r}: give a path, a "
            "glob, a URL, a list of these, or a table (pandas, polars, pyarrow, duckdb)"
        )


@dataclass(frozen=True)
class File:
    """A file of a source: path or URL, bytes, and nanoseconds since 1970 of its last change."""

    name: str
    n_bytes: int
    changed: int


def files_of(source: Any) -> list[File]:
    """The files of a path, a glob, a URL, or a list of these; local paths become absolute.

    Raises VotesError where one is not there.
    """
    if isinstance(source, str) and is_url(source):
        return [File(*found) for found in urls_of(source)]
    if source == "-":
        raise VotesError("standard input: can be read only once: write it to a file first")
    if isinstance(source, (str, Path)):
        paths = [os.path.abspath(path) for path in _files(str(source))]
        return [File(path, (at := os.stat(path)).st_size, at.st_mtime_ns) for path in paths]
    if isinstance(source, Sequence) and source:
        return [path for one in source for path in files_of(one)]
    raise VotesError(
        f"cannot take {type(source).__name__} {str(source)[:60]!r} for files: give a path, a glob"
        " or a list of paths"
    )


def _parts_of_path(text: str, columns: Mapping[str, str], format: str | None) -> Iterator[Part]:
    if text == "-":
        if format == "parquet":
            raise VotesError("standard input: Parquet cannot be read from a pipe: give its path")
        yield _text_part("standard input", _stdin(), columns, format or "csv")
        return
    for name in [url for url, *_ in urls_of(text)] if is_url(text) else map(str, _files(text)):
        kind = _format(name, format)
        if kind == "parquet":
            yield _answers(parquet_part(name), columns)
            continue
        with refused(name), opened(name) as stream:
            yield _text_part(name, stream, columns, kind)


def _text_part(name: str, stream: io.BufferedIOBase, columns: Mapping[str, str], kind: str) -> Part:
    if kind in ("csv", "wide"):
        return csv_part(name, stream)
    records = json_records(name, stream)
    first = next(records, None)
    if first is None:
        raise VotesError(f"{name}: is empty: at least one vote is needed")
    records = itertools.chain([first], records)
    export = kind if kind in EXPORTS else export_kind(first[1])
    return export_part(name, export, records, columns) if export else records_part(name, records)


def _stdin() -> io.BufferedIOBase:
    return cast(io.BufferedIOBase, sys.stdin.buffer)


def _answers(part: Part, columns: Mapping[str, str]) -> Part:
    """The part itself, or its answers where it is a flattened Argilla export."""
    is_export = any(name.endswith(".responses") for name in part.columns)
    return export_table_part(part, columns) if is_export else part


def _files(text: str) -> list[Path]:
    path = Path(text).expanduser()
    if path.is_dir():
        endings = Counter(f.suffix for f in path.iterdir() if f.is_file() and f.suffix in ENDINGS)
        ending = endings.most_common(1)[0][0] if endings else ".csv"
        raise VotesError(f"{text}: is a directory: name its files, as '{path / ('*' + ending)}'")
    if path.exists():
        return [path]
    if any(mark in text for mark in "*?["):
        found = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]
        if files := [f for f in found if f.is_file()]:
            return files
        raise VotesError(f"{text}: no file matches")
    raise VotesError(f"{text}: there is no such file{_nearest(path)}")


def _nearest(path: Path) -> str:
    if not path.parent.is_dir():
        return f", nor a directory {path.parent}"
    near = difflib.get_close_matches(path.name, [f.name for f in path.parent.iterdir()], n=1)
    return f"; did you mean {path.parent / near[0]}?" if near else ""


def _format(path: str, format: str | None) -> str:
    name = path.lower().removesuffix(".gz")
    kind = ENDINGS.get(Path(name).suffix)
    if format == "wide" and kind is not None:
        if kind == "json":
            raise VotesError(f"{path}: wide tables are read from CSV, Parquet or memory, not JSON")
        return kind
    if format is not None:
        return "json" if format == "jsonl" else format
    if kind is None:
        known = ", ".join(ENDINGS)
        raise VotesError(
            f"{path}: its ending says no format: end it in one of {known} (.gz may follow), or "
            "give format='csv', 'jsonl' or 'parquet'"
        )
    return kind
