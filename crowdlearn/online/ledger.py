"""All votes of a stream in the order they came, and who is who. Reading a batch costs by the batch.

The votes of an item are a chain: each vote knows the item's vote before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import no_type_check

import numpy as np
import pyarrow as pa
from jaxtyping import Int32, Int64
from numba import njit

from crowdlearn.errors import VotesError
from crowdlearn.online.rows import Rows
from crowdlearn.votes import Votes


@dataclass(frozen=True, eq=False)
class Touched:
    """Some items with all their votes: CSR `offsets` into `vote`, positions in the ledger.

    `rows` are the workers among them, and `row` the place of each vote's worker there.
    """

    item: Int64[np.ndarray, " item"]
    offsets: Int64[np.ndarray, " offset"]
    vote: Int64[np.ndarray, " vote"]
    worker: Int32[np.ndarray, " vote"]
    label: Int32[np.ndarray, " vote"]
    rows: Int32[np.ndarray, " row"]
    row: Int64[np.ndarray, " vote"]
    gold: Int32[np.ndarray, " item"]

    @property
    def owner(self) -> Int64[np.ndarray, " vote"]:
        """Place of every vote's item."""
        return np.repeat(np.arange(len(self.item)), np.diff(self.offsets))


@dataclass(eq=False)
class Ledger:
    """Names, votes and gold answers of a stream so far."""

    classes: tuple[str, ...]
    item_codes: dict[str, int] = field(default_factory=dict)
    worker_codes: dict[str, int] = field(default_factory=dict)
    item_names: list[str] = field(default_factory=list)
    worker_names: list[str] = field(default_factory=list)
    item: Rows = field(default_factory=lambda: Rows.of(np.int32))
    worker: Rows = field(default_factory=lambda: Rows.of(np.int32))
    label: Rows = field(default_factory=lambda: Rows.of(np.int32))
    before: Rows = field(default_factory=lambda: Rows.of(np.int64, fill=-1))  # by vote
    last: Rows = field(default_factory=lambda: Rows.of(np.int64, fill=-1))  # by item
    gold: Rows = field(default_factory=lambda: Rows.of(np.int32, fill=-1))  # by item

    @property
    def n_items(self) -> int:
        return len(self.item_codes)

    @property
    def n_workers(self) -> int:
        return len(self.worker_codes)

    @property
    def n_classes(self) -> int:
        return len(self.classes)

    @property
    def n_votes(self) -> int:
        return self.item.n

    def add(self, votes: Votes | None, answers: Mapping[str, str | None]) -> Touched:
        """Take in a batch of votes and gold answers; the items they touch, in order of appearance.

        New items, workers and classes are taken in as they come; None takes an answer back. Raises
        VotesError for an answer on an item that no vote has named, or with an unknown class; the
        ledger is then as it was.
        """
        classes = self._classes_with(votes)
        self._check(votes, answers, classes)
        self.classes = classes
        item = self._take_in(votes) if votes is not None else np.empty(0, dtype=np.int64)
        gold = [self.item_codes[name] for name in answers]
        self.gold.data[gold] = [
            -1 if label is None else classes.index(label) for label in answers.values()
        ]
        every = np.concatenate([item, np.array(gold, dtype=np.int64)])
        _, first = np.unique(every, return_index=True)
        return self.touched(every[np.sort(first)])

    def know(self, votes: Votes) -> None:
        """Take in the names of workers and classes, in their order, without any vote."""
        self.classes = self._classes_with(votes)
        _codes(votes.workers, self.worker_codes, self.worker_names)

    def touched(self, item: Int64[np.ndarray, " item"]) -> Touched:
        """These items with all their votes."""
        offsets, vote = _chains(item, self.last.live, self.before.live)
        worker, label = self.worker.live[vote], self.label.live[vote]
        rows, row = np.unique(worker, return_inverse=True)
        return Touched(item, offsets, vote, worker, label, rows, row, self.gold.live[item])

    def names(self, item: Int64[np.ndarray, " item"]) -> pa.Array:
        """The names of these items."""
        return pa.array([self.item_names[i] for i in item.tolist()], pa.string())

    def votes(self) -> Votes:
        """All votes; items and workers in order of appearance. Raises VotesError without any."""
        return Votes.from_codes(
            self.item.live,
            self.worker.live,
            self.label.live,
            items=pa.array(self.item_names, pa.string()),
            workers=pa.array(self.worker_names, pa.string()),
            classes=self.classes,
        )

    def part(self, touched: Touched) -> Votes:
        """The touched items alone; workers are all."""
        return Votes(
            items=self.names(touched.item),
            workers=pa.array(self.worker_names, pa.string()),
            classes=self.classes,
            item_offsets=touched.offsets,
            worker=touched.worker,
            label=touched.label,
        )

    def _classes_with(self, votes: Votes | None) -> tuple[str, ...]:
        if votes is None:
            return self.classes
        return tuple(dict.fromkeys((*self.classes, *votes.classes)))

    def _check(
        self, votes: Votes | None, answers: Mapping[str, str | None], classes: tuple[str, ...]
    ) -> None:
        new = set(votes.items.cast(pa.string()).to_pylist()) if votes is not None else set()
        for name, label in answers.items():
            if name not in self.item_codes and name not in new:
                raise VotesError(f"answer for item {name!r}: no vote has named that item")
            if label is not None and label not in classes:
                raise VotesError(
                    f"answer for item {name!r}: {label!r} is not one of {', '.join(classes)}"
                )
        if votes is not None and votes.n_votes == 0:
            raise VotesError("the batch holds no votes: leave it out, or give at least one row")

    def _take_in(self, votes: Votes) -> Int64[np.ndarray, " vote"]:
        """Append the votes; item codes of the batch's items."""
        item_of = _codes(votes.items, self.item_codes, self.item_names)
        worker_of = _codes(votes.workers, self.worker_codes, self.worker_names)
        place = {name: k for k, name in enumerate(self.classes)}
        class_of = np.array([place[name] for name in votes.classes], dtype=np.int32)
        first, item = self.n_votes, item_of[votes.item]
        self.item.append(item)
        self.worker.append(worker_of[votes.worker])
        self.label.append(class_of[votes.label])
        self.before.grow(self.n_votes)
        self.last.grow(self.n_items)
        self.gold.grow(self.n_items)
        _chain(item, first, self.last.data, self.before.data)
        return item_of


def _codes(names: pa.Array, known: dict[str, int], listed: list[str]) -> Int64[np.ndarray, " name"]:
    """Codes of these names; new ones are numbered on."""
    codes = np.empty(len(names), dtype=np.int64)
    for place, name in enumerate(names.cast(pa.string()).to_pylist()):
        code = known.setdefault(name, len(listed))
        if code == len(listed):
            listed.append(name)
        codes[place] = code
    return codes


@njit(nogil=True, cache=True)
@no_type_check
def _chain(item, first, last, before):
    for v in range(len(item)):
        before[first + v] = last[item[v]]
        last[item[v]] = first + v


@njit(nogil=True, cache=True)
@no_type_check
def _chains(item, last, before):
    """Offsets and positions of all votes of these items, each item's in the order they came."""
    offsets = np.zeros(len(item) + 1, dtype=np.int64)
    for i in range(len(item)):
        v, n = last[item[i]], 0
        while v >= 0:
            v, n = before[v], n + 1
        offsets[i + 1] = offsets[i] + n
    vote = np.empty(offsets[-1], dtype=np.int64)
    for i in range(len(item)):
        v = last[item[i]]
        for place in range(offsets[i + 1] - 1, offsets[i] - 1, -1):
            vote[place] = v
            v = before[v]
    return offsets, vote
