"""Parquet files and Arrow tables, by batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from crowdlearn.errors import VotesError
from crowdlearn.reading.parts import Batch, Part, numbered
from crowdlearn.reading.remote import is_url, located
from crowdlearn.reading.streams import refused

BATCH = 1 << 20  # rows


def parquet_part(name: str) -> Part:
    """The rows of a Parquet file by path or URL, counted from 1.

    Raises VotesError where it is none.
    """
    import pyarrow.parquet as pq

    with refused(name), _read_by_arrow(name):
        system, path = located(name) if is_url(name) else (None, name)
        columns = tuple(pq.read_schema(path, filesystem=system).names)

    def batches(names: Sequence[str]) -> Iterator[Batch]:
        with refused(name), _read_by_arrow(name), pq.ParquetFile(path, filesystem=system) as file:
            arrow = file.iter_batches(batch_size=BATCH, columns=list(names))
            yield from numbered(arrow, names, first_row=1)

    return Part(name, columns, batches)


def table_part(name: str, table: Any) -> Part:
    """The rows of anything that speaks the Arrow C stream, counted from 1."""
    with _read_by_arrow(name):
        reader = pa.RecordBatchReader.from_stream(table)

    def batches(names: Sequence[str]) -> Iterator[Batch]:
        with _read_by_arrow(name):
            yield from numbered(iter(reader), names, first_row=1)

    return Part(name, tuple(reader.schema.names), batches)


@contextmanager
def _read_by_arrow(name: str) -> Iterator[None]:
    """Say Arrow's complaints as VotesErrors."""
    try:
        yield
    except pa.ArrowException as error:
        if isinstance(error, OSError):
            raise
        raise VotesError(f"{name}: cannot be read as a table: {error}") from error
