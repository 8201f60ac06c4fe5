"""Delimited text: commas, semicolons or tabs, quoted fields, any line ends, a BOM or none."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import NoReturn

import pyarrow as pa
import pyarrow.csv

from crowdlearn.errors import VotesError
from crowdlearn.reading.parts import Batch, Part, numbered
from crowdlearn.reading.streams import Rejoined, refused

DELIMITERS = ",;\t"
BLOCK = 16 << 20  # bytes


def csv_part(name: str, stream: io.BufferedIOBase) -> Part:
    """The rows of a delimited file; the header is row 1.

    Row numbers count records: a quoted field may hold line ends, and blank lines do not count.
    Raises VotesError for an empty file, text that is not UTF-8 and records of the wrong length.
    """
    with refused(name):
        head = _head(stream)
    header, delimiter = _header(name, head)

    def batches(names: Sequence[str]) -> Iterator[Batch]:
        with refused(name):
            try:
                whole = Rejoined(head, stream)
                reader = _open(whole, names, delimiter)
                yield from numbered(iter(reader), names, first_row=2)
            except pa.ArrowInvalid as error:
                _refuse(name, header, str(error), error)
        if whole.n_quotes % 2:  # the last field ran to the end of the file, votes and all
            raise VotesError(
                f"{name}: holds an odd number of quote marks, so one is never closed; within a "
                "quoted field, write a quote mark twice"
            )

    return Part(name, tuple(header), batches)


def _open(whole: Rejoined, names: Sequence[str], delimiter: str) -> pa.csv.CSVStreamingReader:
    return pa.csv.open_csv(
        pa.PythonFile(whole, mode="r"),
        read_options=pa.csv.ReadOptions(use_threads=False, block_size=BLOCK),
        parse_options=pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            include_columns=list(names),
            column_types={name: pa.string() for name in names},
            strings_can_be_null=False,
        ),
    )


def _head(stream: io.BufferedIOBase, step: int = 1 << 16, most: int = 1 << 24) -> bytes:
    """The start of the stream: enough to hold the header."""
    head = b""
    while piece := stream.read(step):
        head += piece
        if head.strip() and (head.lstrip().find(b"\n") > 0 or len(head) > most):
            break
    return head


def _header(name: str, head: bytes) -> tuple[list[str], str]:
    """Column names and delimiter."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise VotesError(f"{name}: is UTF-16: save it as UTF-8")
    text = head[head.startswith(b"\xef\xbb\xbf") * 3 :].lstrip(b"\r\n").decode(errors="replace")
    if not text.strip():
        raise VotesError(f"{name}: is empty: the first line must name the columns")
    best = max(DELIMITERS, key=lambda mark: len(_first_record(text, mark)))
    header = _first_record(text, best)
    if "\ufffd" in "".join(header):
        raise VotesError(f"{name}, row 1: is not UTF-8 text: save the file as UTF-8")
    return header, best


def _first_record(text: str, delimiter: str) -> list[str]:
    return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])


def _refuse(name: str, header: Sequence[str], message: str, error: Exception) -> NoReturn:
    """Say what Arrow found in our words."""
    if m := re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", message):
        row, expected, got = m.groups()
        raise VotesError(
            f"{name}, row {row}: {got} fields, where the header has {expected}; a field that holds "
            "the delimiter or a line end must be quoted, and a quote must be closed"
        ) from error
    if m := re.search(r"column #(\d+): Row #(\d+).*invalid UTF8", message):
        column, row = header[int(m[1])], m[2]
        raise VotesError(
            f"{name}, row {row}, column {column!r}: is not UTF-8 text: save the file as UTF-8"
        ) from error
    if "straddl" in message or "out of sync" in message:
        raise VotesError(f"{name}: a quote is never closed, or a record is very long") from error
    raise VotesError(f"{name}: is not a delimited table: {message}") from error
