"""Part: one file, table or stream, as batches of named columns with their row numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import pyarrow as pa

T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """A stretch of rows: the columns asked for, and the row number of each row in its source."""

    columns: Mapping[str, pa.Array]
    rows: Sequence[int]


@dataclass(frozen=True)
class Part:
    """One input. `batches(names)` reads these columns of it, once, from start to end."""

    name: str
    columns: tuple[str, ...]
    batches: Callable[[Sequence[str]], Iterator[Batch]]


def numbered(
    arrow: Iterator[pa.RecordBatch], names: Sequence[str], first_row: int, most: int = 1 << 21
) -> Iterator[Batch]:
    """Arrow batches as ours, cut to at most `most` rows, numbered from `first_row`."""
    row = first_row
    for whole in arrow:
        for start in range(0, whole.num_rows, most):
            piece = whole.slice(start, most)
            columns = {name: piece.column(name) for name in names}
            yield Batch(columns, range(row, row + piece.num_rows))
            row += piece.num_rows


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items; each is made in another thread while the one before is used."""
    with ThreadPoolExecutor(1) as other:
        coming = other.submit(lambda: list(islice(items, 1)))
        while now := coming.result():
            coming = other.submit(lambda: list(islice(items, 1)))
            yield now[0]
