"""The first pass over files of votes: the names of workers and classes, and how many rows."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from crowdlearn.errors import VotesError, VotesWarning
from crowdlearn.reading.collect import checked_batches, ordered_classes
from crowdlearn.reading.columns import VOTE_COLUMNS, find_columns
from crowdlearn.reading.sources import parts_of


@dataclass(frozen=True)
class Job:
    """How files of votes are to be read."""

    columns: Mapping[str, str]
    classes: Sequence[str] | None
    drop_missing: bool

    def batches(self, path: str, dropped: Counter[str]) -> Any:
        """The checked batches of a file, encoded; what is left out is counted."""
        with closing(parts_of(path, self.columns, None)) as parts:
            for part in parts:
                named = find_columns(part.columns, VOTE_COLUMNS, self.columns, part.name)
                gone = dropped if self.drop_missing else None
                yield from checked_batches(part, named, self.classes, gone)


@dataclass(frozen=True, eq=False)
class Survey:
    """What a file has: names, rows, the types of its names, and rows left out by what they miss."""

    path: str
    workers: pa.Array
    labels: pa.Array
    n_rows: int
    types: Mapping[str, str]
    dropped: Counter[str]


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The names that codes stand for."""

    workers: pa.Array  # sorted
    classes: list[str]


def survey(path: str, job: Job) -> Survey:
    """The first pass over one file. Raises VotesError where it holds no votes."""
    workers, labels = _Distinct(), _Distinct()
    dropped: Counter[str] = Counter()
    n_rows, types = 0, dict[str, str]()
    for encoded, rows in job.batches(path, dropped):
        workers.add(encoded["worker"].dictionary)
        labels.add(encoded["label"].dictionary)
        n_rows += len(rows)
        types = {role: str(encoded[role].dictionary.type) for role in ("item", "worker")}
    if n_rows == 0 and not dropped:
        raise VotesError(f"{path}: holds no votes, only a header or less")
    return Survey(path, workers.names(), labels.names(), n_rows, types, dropped)


def united(found: Sequence[Survey], known: Sequence[str] | None) -> Vocabulary:
    """The names of all files. Raises VotesError where types differ, or one class is left."""
    for one in found[1:]:
        for role, kind in one.types.items():
            if kind != (first := found[0].types.get(role, kind)):
                raise VotesError(
                    f"{one.path}: its {role}s are {kind}, and {first} in {found[0].path}: write"
                    " both with one type"
                )
    _warn_of_dropped(found)
    workers, labels = _Distinct(), _Distinct()
    for one in found:
        workers.add(one.workers)
        labels.add(one.labels)
    classes = list(known or ordered_classes(labels.names()))
    if len(classes) < 2:
        raise VotesError(
            f"{found[0].path}: all votes say {classes[0]!r}: a single class leaves nothing to"
            " infer; name all classes with classes=[...] if the others were merely never chosen"
        )
    names = workers.names()
    return Vocabulary(names.take(pc.sort_indices(names)), classes)


def _warn_of_dropped(found: Sequence[Survey]) -> None:
    """Say how many rows were left out. Raises VotesError where none is left."""
    dropped = sum(one.dropped["rows"] for one in found)
    n_rows = sum(one.n_rows for one in found)
    if n_rows == 0:
        raise VotesError(f"{found[0].path}: no vote is left of {dropped:,} rows")
    if dropped:
        warnings.warn(
            f"{dropped:,} of {n_rows + dropped:,} rows left out: they miss a value",
            VotesWarning, stacklevel=4,
        )  # fmt: skip


class _Distinct:
    """Distinct names, merged when as many wait as are known."""

    def __init__(self) -> None:
        self._known: list[pa.Array] = []
        self._n_waiting, self._n_known = 0, 0

    def add(self, names: pa.Array) -> None:
        self._known.append(names.cast(pa.large_string()))
        self._n_waiting += len(names)
        if self._n_waiting > max(1 << 18, 2 * self._n_known):
            self._merge()

    def names(self) -> pa.Array:
        self._merge()
        return self._known[0] if self._known else pa.array([], pa.large_string())

    def _merge(self) -> None:
        if self._known:
            merged = pc.unique(pa.chunked_array(self._known))
            self._known, self._n_waiting, self._n_known = [merged], 0, len(merged)
