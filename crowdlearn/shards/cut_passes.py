"""The passes over a chunk of votes where tables are cut by workers: a walk over blocks of workers.

A pass of `CpuSweeper` meets a table and counts in one go over the items. Here it takes up what a
block says of every item, a block after the other, and only then knows the posterior; the counts are
made of the posterior a block at a time when they are asked for (`COUNTERS`), and never held whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int, Int32, Int64

from crowdlearn.sweeps import Sums
from crowdlearn.sweeps import cut_kernels as kernels
from crowdlearn.sweeps.cpu import VOTES_A_BLOCK
from crowdlearn.sweeps.cuts import Cut
from crowdlearn.sweeps.kernels import TINY
from crowdlearn.sweeps.pool import Pool, split
from crowdlearn.votes import Votes

MOST_RANGES = 64


@dataclass(eq=False)
class Grouped:
    """Votes by block of workers, see `cut_kernels`; 8 bytes a vote, 12 where `order` is needed."""

    votes: Votes
    cut: Cut
    pool: Pool

    def __post_init__(self) -> None:
        counts = np.zeros(self.cut.n_blocks, dtype=np.int64)
        kernels.sizes(self.votes.worker, self.cut.size, counts)
        self.offsets: Int64[np.ndarray, " edge"] = np.append(0, counts.cumsum())
        self.row, self.item = (np.empty(self.votes.n_votes, dtype=np.int32) for _ in range(2))
        self._group(np.empty(0, dtype=np.int64))
        n_ranges = min(self.votes.n_votes // VOTES_A_BLOCK, MOST_RANGES)
        self.ranges = split(self.votes.n_items, max(n_ranges, 1))

    @cached_property
    def order(self) -> Int[np.ndarray, " vote"]:
        """Place of each vote among those sorted by item."""
        small = self.votes.n_votes < 1 << 31
        order = np.empty(self.votes.n_votes, dtype=np.int32 if small else np.int64)
        self._group(order)
        return order

    def _group(self, order: np.ndarray) -> None:
        votes = self.votes
        kernels.group(
            votes.item_offsets, votes.worker, votes.label, self.cut.n_labels, self.cut.size,
            self.offsets[:-1].copy(), self.row, self.item, order,
        )  # fmt: skip

    def votes_of(self, block: int) -> tuple[int, int]:
        """The first vote of a block, and the one after its last."""
        return int(self.offsets[block]), int(self.offsets[block + 1])

    def walk(self, block: int, kernel: Callable[[int, int, int], Any]) -> list[Any]:
        """`kernel(range, start, stop)` for the votes of a block in each range of items."""
        start, stop = self.votes_of(block)
        edges = [low for low, _ in self.ranges[1:]]
        cuts = [start, *(start + np.searchsorted(self.item[start:stop], edges)), stop]
        each = zip(range(len(self.ranges)), cuts[:-1], cuts[1:], strict=True)
        return self.pool.run(lambda k, low, high: kernel(k, int(low), int(high)), list(each))

    def per_range(self, kernel: Callable[[int, int, int], Any]) -> list[Any]:
        """`kernel(range, first item, last item and one)` for each range of items."""
        each = [(k, low, high) for k, (low, high) in enumerate(self.ranges)]
        return self.pool.run(kernel, each)


def totals(chunk: Any, weight: np.ndarray) -> tuple[Sums]:
    """`CpuSweeper.counts` but for the counts."""
    return (Sums(np.zeros(0), weight.sum(axis=0, dtype=np.float64), math.nan, math.nan),)


def product(chunk: Any, prior: np.ndarray, table: Any, posterior: np.ndarray) -> tuple[Sums]:
    """`CpuSweeper.product` but for the counts."""
    p, bound = _multiplied(chunk, prior, table)
    return (_stored(chunk.grouped, p, posterior, bound),)


def mixture(
    chunk: Any, prior: np.ndarray, table: Any, guess: np.ndarray, sees: np.ndarray,
    misses: np.ndarray, posterior: np.ndarray, seen: np.ndarray,
) -> tuple[Sums]:  # fmt: skip
    """`CpuSweeper.mixture` but for the counts."""
    own, n_labels = chunk.grouped, chunk.grouped.cut.n_labels
    p, shift = _begun(chunk, prior)

    def one(block: int, rows: np.ndarray) -> None:
        given = n_labels, rows, guess, sees, misses, p, shift
        own.walk(
            block, lambda _, a, b: kernels.multiply_mixed(a, b, own.row, own.item, *given)
        )  # fmt: skip

    for block, rows in enumerate(table.blocks()):
        one(block, rows)
    bound = _normalised(own, p, shift)
    seen[:] = 0
    guessed = np.zeros((len(own.ranges), n_labels))

    def look(block: int, rows: np.ndarray) -> None:
        given = n_labels, rows, guess, sees, misses, p, seen
        own.walk(
            block, lambda k, a, b: kernels.see_mixed(a, b, own.row, own.item, *given, guessed[k])
        )

    for block, rows in enumerate(table.blocks()):
        look(block, rows)
    return (_stored(own, p, posterior, bound, guessed.sum(axis=0)),)


def factorised(
    chunk: Any, log_prior: np.ndarray, log_table: Any, log_guess: np.ndarray,
    log_sees: np.ndarray, log_misses: np.ndarray, own: np.ndarray, posterior: np.ndarray,
    seen: np.ndarray,
) -> tuple[Sums]:  # fmt: skip
    """`CpuSweeper.factorised` but for the counts."""
    mine, n_labels = chunk.grouped, chunk.grouped.cut.n_labels
    order = mine.order
    p = np.tile(log_prior, (chunk.votes.n_items, 1))

    def one(block: int, rows: np.ndarray) -> None:
        mine.walk(
            block,
            lambda _, a, b: kernels.add_logs(a, b, mine.row, mine.item, order, rows, own, p),
        )

    for block, rows in enumerate(log_table.blocks()):
        one(block, rows)
    parts = mine.per_range(
        lambda _, low, high: kernels.normalise_logs(low, high, log_prior, chunk.gold, p)
    )
    seen[:] = 0
    guessed = np.zeros((len(mine.ranges), n_labels))

    def look(block: int, rows: np.ndarray) -> list[float]:
        given = order, n_labels, rows, log_guess, log_sees, log_misses, p, own, seen
        return mine.walk(
            block,
            lambda k, a, b: kernels.see_factorised(a, b, mine.row, mine.item, *given, guessed[k]),
        )

    for block, rows in enumerate(log_table.blocks()):
        parts += look(block, rows)
    return (_stored(mine, p, posterior, math.fsum(parts), guessed.sum(axis=0)),)


def count_soft(chunk: Any, block: int, counts: np.ndarray, weight: np.ndarray) -> None:
    """Every vote counts by its item's weights."""
    own = chunk.grouped
    kernels.count(*own.votes_of(block), own.row, own.item, weight, counts)


def count_mixed(
    chunk: Any, block: int, counts: np.ndarray, weight: np.ndarray, table: Any, guess: np.ndarray,
    sees: np.ndarray, misses: np.ndarray,
) -> None:  # fmt: skip
    """As far as it came from the table by which the weights were found, see `mixture`."""
    own = chunk.grouped
    kernels.count_mixed(
        *own.votes_of(block), own.row, own.item, own.cut.n_labels, weight, table.block(block),
        guess, sees, misses, counts,
    )  # fmt: skip


def count_owned(
    chunk: Any, block: int, counts: np.ndarray, weight: np.ndarray, own: np.ndarray
) -> None:
    """As far as it came from the table: a number for each vote, see `factorised`."""
    mine = chunk.grouped
    kernels.count_owned(*mine.votes_of(block), mine.row, mine.item, mine.order, weight, own, counts)


COUNTERS: dict[str, Callable[..., None]] = {
    "soft": count_soft, "mixed": count_mixed, "owned": count_owned,
}  # fmt: skip
"""How votes count: (chunk, block, counts to add to, arrays ...)."""

CUT_OPERATIONS: dict[str, Callable[..., tuple[Sums]]] = {
    "cut totals": totals, "cut product": product, "cut mixture": mixture,
    "cut factorised": factorised,
}  # fmt: skip
"""By name."""


def _begun(chunk: Any, prior: np.ndarray) -> tuple[np.ndarray, Int32[np.ndarray, "item state"]]:
    shape = chunk.votes.n_items, len(prior)
    p, shift = np.empty(shape), np.zeros(shape, dtype=np.int32)
    kernels.begin(0, shape[0], np.maximum(prior, TINY), chunk.state_class, chunk.gold, p)
    return p, shift


def _multiplied(chunk: Any, prior: np.ndarray, table: Any) -> tuple[np.ndarray, float]:
    """The items' probabilities given prior and table, and the log evidence."""
    own = chunk.grouped
    p, shift = _begun(chunk, prior)

    def one(block: int, rows: np.ndarray) -> None:
        own.walk(
            block, lambda _, a, b: kernels.multiply(a, b, own.row, own.item, rows, p, shift)
        )  # fmt: skip

    for block, rows in enumerate(table.blocks()):
        one(block, rows)
    return p, _normalised(own, p, shift)


def _normalised(own: Grouped, p: np.ndarray, shift: np.ndarray) -> float:
    return math.fsum(own.per_range(lambda _, low, high: kernels.normalise(low, high, p, shift)))


def _stored(
    own: Grouped, p: np.ndarray, posterior: np.ndarray, bound: float,
    guessed: np.ndarray | None = None,
) -> Sums:  # fmt: skip
    found = np.zeros((len(own.ranges), p.shape[1]))
    moved = own.per_range(lambda k, low, high: kernels.store(low, high, p, posterior, found[k]))
    return Sums(
        np.zeros(0), found.sum(axis=0), bound, float(max(moved)),
        np.zeros(0) if guessed is None else guessed,
    )  # fmt: skip
