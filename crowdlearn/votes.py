"""Votes: who said what about which item, as integer columns sorted by item.

A vote is one worker's label for one item. Names (of items, workers and classes) are kept apart from
the codes; inside the library only codes travel. `item_offsets` is a CSR index: the votes of item
`i` are `votes.worker[item_offsets[i]:item_offsets[i + 1]]`. A worker may vote on one item several
times, and every such vote counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int, Int32, Int64

from crowdlearn.errors import VotesError
from crowdlearn.grouping import group

ITEMS_AT_ONCE = 1 << 18  # counted together, so that counting takes little memory of its own


class VoteSet:
    """Votes in memory (`Votes`), or coded on disk (`crowdlearn.shards.ShardedVotes`)."""

    classes: tuple[str, ...]
    workers: Any
    votes_per_worker: Any

    @property
    def n_items(self) -> int:
        raise NotImplementedError

    @property
    def n_votes(self) -> int:
        raise NotImplementedError

    @property
    def n_workers(self) -> int:
        raise NotImplementedError

    @property
    def n_classes(self) -> int:
        raise NotImplementedError

    def gold_codes(self, gold: Any) -> Any:
        """What is known of items, as codes; see `crowdlearn.gold.gold_codes`."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Votes(VoteSet):
    """Votes of workers on items; build one with `read_votes`, `from_table` or `from_codes`.

    `items` and `workers` are Arrow arrays of names in order of first appearance; `classes` is the
    tuple of class names. Codes are positions in these. 12 bytes a vote, never objects.
    """

    items: pa.Array
    workers: pa.Array
    classes: tuple[str, ...]
    item_offsets: Int64[np.ndarray, " offset"]
    worker: Int32[np.ndarray, " vote"]
    label: Int32[np.ndarray, " vote"]

    @classmethod
    def from_codes(
        cls,
        item: Int[np.ndarray, " vote"],
        worker: Int[np.ndarray, " vote"],
        label: Int[np.ndarray, " vote"],
        *,
        items: pa.Array | Sequence[str] | int | None = None,
        workers: pa.Array | Sequence[str] | int | None = None,
        classes: Sequence[str] | int | None = None,
    ) -> Votes:
        """Votes from 0-based integer columns in any order.

        `items`, `workers` and `classes` give the names, or how many there are (names are then
        "0", "1", ...); left out, the largest code decides. Items without a vote are allowed.
        Raises VotesError for an empty column, columns of different length, a code out of range, or
        fewer than two classes.
        """
        if not len(item) == len(worker) == len(label):
            raise VotesError(
                f"columns differ in length: {len(item)} items, {len(worker)} workers, "
                f"{len(label)} labels"
            )
        if len(item) == 0:
            raise VotesError("there are no votes: at least one row is needed")
        item_names = _names(items, item, "item")
        worker_names = _names(workers, worker, "worker")
        class_names = tuple(_names(classes, label, "label").cast(pa.string()).to_pylist())
        if len(class_names) < 2:
            raise VotesError(
                f"all votes say {class_names[0]!r}: a single class leaves nothing to infer; "
                "name all classes with classes=[...] if the others were merely never chosen"
            )
        offsets, order = group(item, len(item_names))
        if order is not None:
            worker, label = worker[order], label[order]
        return cls(
            items=item_names,
            workers=worker_names,
            classes=class_names,
            item_offsets=offsets,
            worker=np.ascontiguousarray(worker, dtype=np.int32),
            label=np.ascontiguousarray(label, dtype=np.int32),
        )

    @classmethod
    def from_table(
        cls,
        table: Any,
        *,
        columns: dict[str, str] | None = None,
        classes: Sequence[str] | None = None,
        drop_missing: bool = False,
    ) -> Votes:
        """Votes from any long table of the Arrow C stream (pandas, polars, pyarrow, duckdb).

        `columns` maps item, worker and label to other column names; `classes` fixes the classes and
        their order; `drop_missing` leaves out rows with a missing value instead of refusing them.
        Raises VotesError naming row and column.
        """
        from crowdlearn.io import votes_from_stream

        return votes_from_stream(
            table, columns=columns, classes=classes, drop_missing=drop_missing, source="table"
        )

    @property
    def n_items(self) -> int:
        return len(self.item_offsets) - 1

    @property
    def n_workers(self) -> int:
        return len(self.workers)

    @property
    def n_classes(self) -> int:
        return len(self.classes)

    @property
    def n_votes(self) -> int:
        return len(self.worker)

    def __len__(self) -> int:
        return self.n_votes

    def __repr__(self) -> str:
        return (
            f"Votes({self.n_votes:,} votes, {self.n_items:,} items, "
            f"{self.n_workers:,} workers, {self.n_classes} classes)"
        )

    @property
    def item(self) -> Int32[np.ndarray, " vote"]:
        """Item code of every vote (built on demand)."""
        return np.repeat(np.arange(self.n_items, dtype=np.int32), np.diff(self.item_offsets))

    @property
    def votes_per_item(self) -> Int64[np.ndarray, " item"]:
        return np.diff(self.item_offsets)

    @cached_property
    def votes_per_worker(self) -> Int64[np.ndarray, " worker"]:
        return np.bincount(self.worker, minlength=self.n_workers)

    @cached_property
    def by_worker(self) -> tuple[Int64[np.ndarray, " offset"], Int64[np.ndarray, " vote"]]:
        """CSR index by worker: offsets, and the positions of the votes of each worker in turn."""
        offsets, order = group(self.worker, self.n_workers)
        return offsets, np.arange(self.n_votes) if order is None else order

    def counts(self) -> Float[np.ndarray, "item class"]:
        """How many votes each item has for each class."""
        n_classes = self.n_classes
        counts = np.empty((self.n_items, n_classes))
        for start in range(0, self.n_items, ITEMS_AT_ONCE):
            rows = counts[start : start + ITEMS_AT_ONCE]
            offsets = self.item_offsets[start : start + len(rows) + 1]
            row = np.repeat(np.arange(len(rows)) * n_classes, np.diff(offsets))
            cells = row + self.label[offsets[0] : offsets[-1]]
            rows[:] = np.bincount(cells, minlength=rows.size).reshape(rows.shape)
        return counts

    def shares(self) -> Float[np.ndarray, "item class"]:
        """Share of an item's votes for each class; uniform where an item has no vote."""
        shares = self.counts()
        totals = self.votes_per_item
        shares /= np.maximum(totals, 1)[:, None]
        shares[totals == 0] = 1 / self.n_classes
        return shares

    def votes_of(self, item: int) -> slice:
        """The positions of the votes of the item with this code."""
        return slice(int(self.item_offsets[item]), int(self.item_offsets[item + 1]))

    def item_code(self, name: Any) -> int:
        """Code of an item name. Raises VotesError for an unknown name."""
        try:
            code = pc.index(self.items, pa.scalar(str(name)).cast(self.items.type)).as_py()
        except pa.ArrowInvalid:  # the names are integers and this is none
            code = -1
        if code < 0:
            raise VotesError(f"there is no item {name!r} among the {self.n_items:,} items")
        return int(code)

    def to_table(self) -> pa.Table:
        """A long table with columns task, worker, label (names, sorted by item)."""
        return pa.table(
            {
                "task": self.items.take(pa.array(self.item)),
                "worker": self.workers.take(pa.array(self.worker)),
                "label": pa.array(self.classes).take(pa.array(self.label)),
            }
        )

    def only_workers(self, keep: np.ndarray) -> Votes:
        """The votes of the workers where `keep` (boolean) is true; items stay as they are."""
        kept = keep[self.worker]
        new_code = np.cumsum(keep) - 1
        return Votes.from_codes(
            self.item[kept],
            new_code[self.worker[kept]],
            self.label[kept],
            items=self.items,
            workers=self.workers.filter(pa.array(keep)),
            classes=self.classes,
        )

    def only_items(self, keep: np.ndarray) -> Votes:
        """The items where `keep` (a boolean array) is true, with their votes; workers stay."""
        item = self.item
        kept = keep[item]
        new_code = np.cumsum(keep) - 1
        return Votes.from_codes(
            new_code[item[kept]],
            self.worker[kept],
            self.label[kept],
            items=self.items.filter(pa.array(keep)),
            workers=self.workers,
            classes=self.classes,
        )


def _names(given: Any, codes: np.ndarray, what: str) -> pa.Array:
    """Names for `codes`, checked to cover them all."""
    low, high = int(codes.min()), int(codes.max())
    if low < 0:
        raise VotesError(f"{what} code {low} is negative: codes count from 0")
    if given is None or isinstance(given, int):
        count = high + 1 if given is None else given
        names = pa.array(np.arange(count)).cast(pa.string())
    else:
        names = given if isinstance(given, pa.Array) else pa.array([str(name) for name in given])
    if high >= len(names):
        raise VotesError(f"{what} code {high} is out of range: there are {len(names)} names")
    return names
