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
        return CpuSweeper.on(self.votes, self.gold, self.state_class, self.n_threads)

    @cached_property
    def pool(self) -> Pool:
        """Threads."""
        return Pool(self.n_threads)

    @cached_property
    def grouped(self) -> Grouped:
        """Its votes by block of workers, where tables are cut."""
        assert self.cut is not None
        return Grouped(self.votes, self.cut, self.pool)

    def posterior(self, start: np.ndarray) -> np.ndarray:
        """A first posterior as passes take it."""
        n_cells = self.whole.n_workers * self.whole.n_classes * len(self.state_class)
        return np.array(start, dtype_of(n_cells))

    def streams(self, entropy: Entropy) -> list[np.random.Generator]:
        """A generator for each bucket; what they draw does not depend on where buckets are."""
        return [np.random.default_rng([*entropy, k]) for k in range(self.start, self.stop)]

    def uniform(self, entropy: Entropy, of: str) -> Float[np.ndarray, " entry"]:
        """Numbers in [0, 1) for each item or vote."""
        sizes = self.whole.bucket_items if of == "item" else self.whole.bucket_votes
        each = zip(self.streams(entropy), sizes[self.start : self.stop], strict=True)
        return np.concatenate([rng.random(int(n)) for rng, n in each])

    def by_bucket(self) -> list[slice]:
        """The items of each bucket."""
        edges = np.append(0, self.whole.bucket_items[self.start : self.stop].cumsum())
        return [slice(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def begin(chunk: Chunk, start: Any, entropy: Entropy, split: int) -> tuple[None, np.ndarray]:
    """The first posterior, a bucket at a time; each class cut into `split` subtypes."""
    pieces = []
    for rows, rng in zip(chunk.by_bucket(), chunk.streams(entropy), strict=True):
        first = items.clamped(start(_part(chunk.votes, rows), rng), chunk.gold[rows])
        pieces.append(first if split == 1 else items.split_classes(first, split, rng))
    return None, chunk.posterior(np.concatenate(pieces))


def first_truths(chunk: Chunk, posterior: np.ndarray, entropy: Entropy) -> tuple[None, np.ndarray]:
    """One truth an item drawn from a posterior, as one-hot rows."""
    pieces = [
        items.first_truths(posterior[rows], rng)
        for rows, rng in zip(chunk.by_bucket(), chunk.streams(entropy), strict=True)
    ]
    return None, chunk.posterior(np.concatenate(pieces))


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
    return (chunk.votes.shares().sum(axis=0),)


def total(chunk: Chunk, array: np.ndarray) -> tuple[float]:
    """The sum of all entries."""
    return (float(array.sum(dtype=np.float64)),)


def beta(chunk: Chunk, a: Any, b: Any, entropy: Entropy) -> tuple[None, np.ndarray]:
    """A draw from Beta(a, b) for each item."""
    pieces = [
        rng.beta(a[rows], b[rows])
        for rows, rng in zip(chunk.by_bucket(), chunk.streams(entropy), strict=True)
    ]
    return None, np.concatenate(pieces)


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
    found = np.concatenate(
        [
            pick_labels(posterior[rows], rng)
            for rows, rng in zip(chunk.by_bucket(), chunk.streams(entropy), strict=True)
        ]
    )
    counts = np.bincount(found, minlength=posterior.shape[1]).astype(np.float64)
    sure = posterior[np.arange(len(found)), found].sum(dtype=np.float64)
    return np.append(counts, sure), found


def agreement(chunk: Chunk, found: np.ndarray) -> tuple[np.ndarray]:
    """Votes of each worker that say the label of their item."""
    votes = chunk.votes
    same = votes.label == found[votes.item]
    return (np.bincount(votes.worker, same, minlength=votes.n_workers),)


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


OPERATIONS: dict[str, Callable[..., tuple[Any, ...]]] = {
    "begin": begin, "first truths": first_truths, "tally": tally, "votes per item": votes_per_item,
    "constant": constant, "arithmetic": arithmetic, "total": total,
    "share totals": share_totals, "beta": beta, "expectations": expectations,
    "by class": by_class, "labels": labels, "agreement": agreement, "write": write,
    **{name: passes(name) for name in
       ("counts", "product", "draw", "mixture", "factorised", "mixture_draw")},
    **CUT_OPERATIONS,
}  # fmt: skip
"""By name."""

WITHOUT_VOTES = {"arithmetic", "total", "by class", "labels", "beta", "cut totals"}
"""Operations that look at no vote: a chunk need not be read for them."""


def _part(votes: Votes, rows: slice) -> Votes:
    """Some items in a row, with their votes."""
    offsets = votes.item_offsets[rows.start : rows.stop + 1]
    at = slice(int(offsets[0]), int(offsets[-1]))
    return Votes(
        items=votes.items[rows], workers=votes.workers, classes=votes.classes,
        item_offsets=offsets - offsets[0], worker=votes.worker[at], label=votes.label[at],
    )  # fmt: skip
