"""What is done to one chunk of votes: the passes of `CpuSweeper`, and work on arrays of its items.

An operation is a function (chunk, arguments) -> (what is reduced, arrays it creates ...). Arrays
come as they lie in the chunk; those that are overwritten are written back by the shard.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int32

from crowdlearn.aggregators.outcome import pick_labels
from crowdlearn.shards.cut_passes import CUT_OPERATIONS, Grouped
from crowdlearn.shards.votes import ShardedGold, ShardedVotes
from crowdlearn.sweeps import items
from crowdlearn.sweeps.cpu import CpuSweeper, dtype_of
from crowdlearn.sweeps.cuts import Cut
from crowdlearn.sweeps.pool import Pool
from crowdlearn.sweeps.tables import beta_expectations
from crowdlearn.votes import Votes

Entropy = tuple[int, ...]


@dataclass(eq=False)
class Chunk:
    """Buckets `start` to `stop` (not included) while they are in memory."""

    whole: ShardedVotes
    start: int
    stop: int
    known: ShardedGold
    state_class: np.ndarray
    n_threads: int
    cut: Cut | None = None
    one_block: bool = False

    @cached_property
    def votes(self) -> Votes:
        """Its votes, read when they are first asked for."""
        return self.whole.load(self.start, self.stop)

    @cached_property
    def gold(self) -> Int32[np.ndarray, " item"]:
        """Class of each gold item, -1 elsewhere."""
        return self.known.codes(self.whole, self.start, self.stop)

    @cached_property
    def home(self) -> Any:
        """Where the passes are made."""
        return CpuSweeper.on(
            self.votes, self.gold, self.state_class, self.n_threads, self.one_block
        )

    @cached_property
    def pool(self) -> Pool:
        """Threads."""
        return Pool(self.n_threads)

    @cached_property
    def grouped(self) -> Grouped:
        """Its votes by block of workers, where tables are cut."""
        assert self.cut is not None
        return Grouped(self.votes, self.cut, self.pool)

    @property
    def dtype(self) -> Any:
        """Of posteriors, as passes take them."""
        return dtype_of(self.whole.n_workers * self.whole.n_classes * len(self.state_class))

    def streams(self, entropy: Entropy) -> list[np.random.Generator]:
        """A generator for each bucket; what they draw does not depend on where buckets are."""
        return [np.random.default_rng([*entropy, k]) for k in range(self.start, self.stop)]

    def uniform(self, entropy: Entropy, of: str) -> Float[np.ndarray, " entry"]:
        """Numbers in [0, 1) for each item or vote."""
        sizes = self.whole.bucket_items if of == "item" else self.whole.bucket_votes
        edges = np.append(0, sizes[self.start : self.stop].cumsum())
        drawn = np.empty(int(edges[-1]))
        for rng, a, b in zip(self.streams(entropy), edges[:-1], edges[1:], strict=True):
            rng.random(out=drawn[a:b])
        return drawn

    def by_bucket(self) -> list[slice]:
        """The items of each bucket."""
        edges = np.append(0, self.whole.bucket_items[self.start : self.stop].cumsum())
        return [slice(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]

    def filled(
        self, rows_of: Callable[[slice, np.random.Generator], np.ndarray], entropy: Entropy,
        dtype: Any = None,
    ) -> np.ndarray:  # fmt: skip
        """An array of the items, made a bucket at a time: nothing else is as large."""
        whole: np.ndarray | None = None
        for rows, rng in zip(self.by_bucket(), self.streams(entropy), strict=True):
            own = rows_of(rows, rng)
            if whole is None:
                n_items = self.by_bucket()[-1].stop
                whole = np.empty((n_items, *own.shape[1:]), dtype or own.dtype)
            whole[rows] = own
        assert whole is not None
        return whole


def begin(chunk: Chunk, start: Any, entropy: Entropy, split: int) -> tuple[None, np.ndarray]:
    """The first posterior, a bucket at a time; each class cut into `split` subtypes."""

    def rows_of(rows: slice, rng: np.random.Generator) -> np.ndarray:
        first = items.clamped(start(_part(chunk.votes, rows), rng), chunk.gold[rows])
        return first if split == 1 else items.split_classes(first, split, rng)

    return None, chunk.filled(rows_of, entropy, chunk.dtype)


def first_truths(chunk: Chunk, posterior: np.ndarray, entropy: Entropy) -> tuple[None, np.ndarray]:
    """One truth an item drawn from a posterior, as one-hot rows."""
    return None, chunk.filled(
        lambda rows, rng: items.first_truths(posterior[rows], rng), entropy, chunk.dtype
    )


def tally(chunk: Chunk, n_classes: int) -> tuple[None, np.ndarray]:
    """Zeros for each item and class."""
    return None, np.zeros((chunk.votes.n_items, n_classes))


def votes_per_item(chunk: Chunk) -> tuple[None, np.ndarray]:
    """How many votes each item has."""
    return None, chunk.votes.votes_per_item.astype(np.float64)


def constant(chunk: Chunk, value: float, of: str) -> tuple[None, np.ndarray]:
    """One number for each item or vote."""
    return None, np.full(chunk.votes.n_items if of == "item" else chunk.votes.n_votes, value)


def arithmetic(chunk: Chunk, how: str, a: Any, b: Any) -> tuple[None, np.ndarray]:
    """Entry by entry."""
    return None, getattr(np, how)(a, b)


def share_totals(chunk: Chunk) -> tuple[np.ndarray]:
    """Each class's share of an item's votes, summed over items."""
    each = (_part(chunk.votes, rows).shares().sum(axis=0) for rows in chunk.by_bucket())
    return (sum(each, np.zeros(chunk.votes.n_classes)),)


def total(chunk: Chunk, array: np.ndarray) -> tuple[float]:
    """The sum of all entries."""
    return (float(array.sum(dtype=np.float64)),)


def beta(chunk: Chunk, a: Any, b: Any, entropy: Entropy) -> tuple[None, np.ndarray]:
    """A draw from Beta(a, b) for each item."""
    return None, chunk.filled(lambda rows, rng: rng.beta(a[rows], b[rows]), entropy)


def expectations(
    chunk: Chunk, seen: np.ndarray, prior: tuple[float, float], logs: bool
) -> tuple[float, np.ndarray, np.ndarray]:
    """`tables.beta_expectations`."""
    sees, misses, divergence = beta_expectations(
        seen, chunk.votes.item_offsets, prior, chunk.pool, logs
    )
    return divergence, sees, misses


def by_class(chunk: Chunk, posterior: np.ndarray, n_classes: int) -> tuple[None, np.ndarray]:
    """Subtypes added up."""
    return None, posterior.reshape(len(posterior), n_classes, -1).sum(axis=2)


def labels(chunk: Chunk, posterior: np.ndarray, entropy: Entropy) -> tuple[np.ndarray, np.ndarray]:
    """The most probable class of every item, ties drawn; how often each class is, and the sum of
    the labels' probabilities after them."""
    counts = np.zeros(posterior.shape[1] + 1)

    def rows_of(rows: slice, rng: np.random.Generator) -> np.ndarray:
        own = posterior[rows]
        picked = pick_labels(own, rng)
        counts[:-1] += np.bincount(picked, minlength=own.shape[1])
        counts[-1] += own[np.arange(len(own)), picked].sum(dtype=np.float64)
        return picked

    found = chunk.filled(rows_of, entropy)
    return counts, found


def agreement(chunk: Chunk, found: np.ndarray) -> tuple[np.ndarray]:
    """Votes of each worker that say the label of their item."""
    agree = np.zeros(chunk.votes.n_workers)
    for rows in chunk.by_bucket():
        own = _part(chunk.votes, rows)
        same = own.label == np.repeat(found[rows], own.votes_per_item)
        agree += np.bincount(own.worker[same], minlength=own.n_workers)
    return (agree,)


def write(
    chunk: Chunk, posterior: np.ndarray, found: np.ndarray, difficulty: np.ndarray | None, into: str
) -> tuple[None]:
    """Each bucket's items as a Parquet file."""
    from crowdlearn.shards.result import table_of

    for bucket, rows in zip(range(chunk.start, chunk.stop), chunk.by_bucket(), strict=True):
        table = table_of(
            chunk.whole.item_names(bucket, bucket + 1), chunk.whole.classes, posterior[rows],
            found[rows], None if difficulty is None else difficulty[rows],
        )  # fmt: skip
        n_votes = chunk.votes.votes_per_item[rows]
        table = table.add_column(3, "n_votes", pa.array(n_votes))
        table = table.add_column(4, "gold", pa.array(chunk.gold[rows] >= 0))
        pq.write_table(table, Path(into) / f"part-{bucket:06d}.parquet")
    return (None,)


def passes(name: str) -> Callable[..., tuple[Any]]:
    """A pass of `CpuSweeper` by its name."""
    return lambda chunk, *given: (getattr(chunk.home, name)(*given),)


PASSES = ("counts", "product", "draw", "mixture", "factorised", "mixture_draw")
"""Operations that give `Sums`, with counts of every worker."""

OPERATIONS: dict[str, Callable[..., tuple[Any, ...]]] = {
    "begin": begin, "first truths": first_truths, "tally": tally, "votes per item": votes_per_item,
    "constant": constant, "arithmetic": arithmetic, "total": total,
    "share totals": share_totals, "beta": beta, "expectations": expectations,
    "by class": by_class, "labels": labels, "agreement": agreement, "write": write,
    **{name: passes(name) for name in PASSES},
    **CUT_OPERATIONS,
}  # fmt: skip
"""By name."""

WITHOUT_VOTES = {"arithmetic", "total", "by class", "labels", "beta", "cut totals"}
"""Operations that look at no vote: a chunk need not be read for them."""

SILENT = {
    "begin", "first truths", "tally", "votes per item", "constant", "arithmetic", "beta",
    "by class",
}  # fmt: skip
"""Operations that give nothing but the arrays they create: nobody waits for them."""


def _part(votes: Votes, rows: slice) -> Votes:
    """Some items in a row, with their votes."""
    offsets = votes.item_offsets[rows.start : rows.stop + 1]
    at = slice(int(offsets[0]), int(offsets[-1]))
    return Votes(
        items=votes.items[rows], workers=votes.workers, classes=votes.classes,
        item_offsets=offsets - offsets[0], worker=votes.worker[at], label=votes.label[at],
    )  # fmt: skip
