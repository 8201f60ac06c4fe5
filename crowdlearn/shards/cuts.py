"""Tables and counts cut by workers: names for them here, blocks of them with those who hold them.

`CutTable` is for workers what `Spread` is for items. `CutCounts` say how votes count, and are made
when something is made of them, a block at a time: they are nowhere whole. `Coins` are the table of
workers who have one ability each, made wherever it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from crowdlearn.aggregators.outcome import beta_interval, moments
from crowdlearn.reading.parts import ahead
from crowdlearn.shards.spread import Spread
from crowdlearn.sweeps import tables
from crowdlearn.sweeps.cuts import Cut, CutArray, InBlocks
from crowdlearn.sweeps.pool import Pool


@dataclass(frozen=True)
class TableRef:
    """An argument of an operation: the table of this name."""

    name: str


@dataclass(frozen=True, eq=False)
class PerWorker:
    """An argument of a maker with a row for each worker: it gets those of its block."""

    rows: np.ndarray


@dataclass(frozen=True, eq=False)
class Counted:
    """How votes count: a kind of `COUNTERS`, its arguments, and a factor of all counts."""

    kind: str
    args: tuple[Any, ...]
    scale: float = 1.0


@dataclass(frozen=True, eq=False)
class Held:
    """A table at hand: arrays, or files of them."""

    entries: Sequence[Any]

    def block(self, block: int) -> np.ndarray:
        """The flat cells of a block."""
        one = self.entries[block]
        found: np.ndarray = one if isinstance(one, np.ndarray) else np.load(one)
        return found

    def blocks(self) -> Iterator[np.ndarray]:
        """All blocks in turn, the next one read while one is used."""
        each = (self.block(k) for k in range(len(self.entries)))
        return each if isinstance(self.entries[0], np.ndarray) else ahead(each)


class _Table(InBlocks):
    """What can be read off a table a block at a time."""

    cut: Cut
    dtype: Any

    def block(self, block: int) -> np.ndarray:
        raise NotImplementedError

    def cube(self) -> CutArray:
        """(worker, label, state)."""
        shape = self.cut.n_labels, self.cut.n_states
        return CutArray(self.cut, shape, self.dtype, lambda k: self.block(k).reshape(-1, *shape))

    def confusion(self, share: np.ndarray | None = None) -> CutArray:
        """(worker, truth, label); `share` (class, subtype) weighs the subtypes of each class."""
        n_classes = self.cut.n_labels
        weights = np.ones((n_classes, 1)) if share is None else share

        def read(block: int) -> np.ndarray:
            rows = self.block(block).astype(np.float64).reshape(-1, n_classes, *weights.shape)
            found: np.ndarray = np.einsum("wckg,kg->wkc", rows, weights)
            return found

        return CutArray(self.cut, (n_classes, n_classes), np.float64, read)


class CutTable(_Table):
    """A table whose blocks are with the crew, under a name."""

    def __init__(self, crew: Any, cut: Cut, dtype: Any) -> None:
        self.crew, self.cut, self.dtype = crew, cut, dtype
        self.name = str(crew.name())

    def __del__(self) -> None:
        self.crew.forget(self.name)

    @property
    def ref(self) -> TableRef:
        """As an argument that is read."""
        return TableRef(self.name)

    def block(self, block: int) -> np.ndarray:
        """The flat cells of a block."""
        found: np.ndarray = self.crew.block(self.name, block)
        return found


@dataclass(frozen=True, eq=False)
class Coins(_Table):
    """The table of workers with these abilities, who err anywhere alike."""

    cut: Cut
    ability: Float[np.ndarray, " worker"]
    dtype: Any

    @property
    def ref(self) -> Coins:
        """As an argument that is read."""
        return self

    def block(self, block: int) -> np.ndarray:
        """The flat cells of a block."""
        ability = self.ability[self.cut.span(block)]
        return tables.error_table(ability, self.cut.n_labels).astype(self.dtype)

    def blocks(self) -> Iterator[np.ndarray]:
        """All blocks in turn."""
        return (self.block(k) for k in range(self.cut.n_blocks))


class CutCounts(InBlocks):
    """Counts that arrays of items (or votes) stand for, as these are now."""

    def __init__(
        self, crew: Any, cut: Cut, kind: str, of: Sequence[Any], scale: float = 1.0
    ) -> None:
        self.crew, self.cut, self.kind, self.of, self.scale = crew, cut, kind, tuple(of), scale
        self._as_of = self._versions()

    def __mul__(self, factor: float) -> CutCounts:
        return CutCounts(self.crew, self.cut, self.kind, self.of, self.scale * factor)

    def copy(self) -> CutCounts:
        """Itself: nothing overwrites what is not there."""
        return self

    def table(
        self, how: str, extra: np.ndarray, dtype: Any, *given: Any
    ) -> tuple[CutTable, list[np.ndarray]]:
        """What a maker of tables makes of the counts, and what else it says of each block."""
        made = CutTable(self.crew, self.cut, dtype)
        own = PerWorker(extra) if extra.ndim > 2 else extra
        said = self._made(how, [own, np.dtype(dtype).name, *given], made.name)
        return made, said

    def right(self) -> Float[np.ndarray, " worker"]:
        """Expected number of right votes of every worker."""
        return np.concatenate(self._made("right", [self.cut.n_labels]))

    def accuracy(self, extra: np.ndarray, prior: Float[np.ndarray, " class"]) -> Any:
        """`dirichlet_accuracy` of counts + extra, subtypes of a class added up."""
        own = PerWorker(extra) if extra.ndim > 2 else extra
        given = [own, prior, self.cut.n_states // self.cut.n_labels]
        mean, variance = np.concatenate(self._made("moments", given), axis=1)
        return beta_interval(mean, variance)

    def _made(self, how: str, given: list[Any], name: str | None = None) -> list[np.ndarray]:
        assert self._as_of == self._versions(), "counts of items that have moved on"
        args = tuple(getattr(one, "ref", one) for one in self.of)
        found: list[np.ndarray] = self.crew.tabulate(
            how, Counted(self.kind, args, self.scale), given, name
        )
        return found

    def _versions(self) -> list[int]:
        return [one.version for one in self.of if isinstance(one, Spread)]


Part = tuple[np.ndarray | None, np.ndarray]
"""Counts that travel: rows (worker, label) of a block, all if None, and their cells."""


def part_of(counts: Float[np.ndarray, " cell"], n_states: int) -> Part:
    """Counts as they travel: where most rows are empty, without these."""
    cells = counts.reshape(-1, n_states)
    rows = np.flatnonzero(cells.any(axis=1)).astype(np.int32)
    return (None, cells) if len(rows) > len(cells) // 2 else (rows, cells[rows])


def add_part(counts: Float[np.ndarray, " cell"], part: Part) -> None:
    """Add counts that came to those here."""
    rows, cells = part
    n_states = cells.shape[1]
    if rows is None:
        counts += cells.ravel()
    else:
        counts.reshape(-1, n_states)[rows] += cells


def of_block(given: Sequence[Any], workers: slice) -> list[Any]:
    """The arguments of a maker for a block of workers."""
    return [one.rows[workers] if isinstance(one, PerWorker) else one for one in given]


def expected(
    pool: Pool, counts: np.ndarray, extra: np.ndarray, dtype: str, logs: bool
) -> tuple[np.ndarray, np.ndarray]:
    """`tables.expected`."""
    table, divergence = tables.expected(counts, extra, np.dtype(dtype), pool, logs)
    return np.array(divergence), table


def normalised(
    pool: Pool, counts: np.ndarray, extra: np.ndarray, dtype: str
) -> tuple[np.ndarray, np.ndarray]:
    """`tables.normalised`."""
    table, log_extra = tables.normalised(counts, extra, np.dtype(dtype), pool)
    return np.array(log_extra), table


def right(pool: Pool, counts: np.ndarray, n_classes: int) -> tuple[np.ndarray, None]:
    """Right votes of the workers."""
    return np.einsum("wkk->wk", counts.reshape(-1, n_classes, n_classes)).sum(axis=1), None


def moments_of(
    pool: Pool, counts: np.ndarray, extra: np.ndarray, prior: np.ndarray, n_subtypes: int
) -> tuple[np.ndarray, None]:
    """Mean and variance of the workers' accuracies."""
    n = len(prior)
    alpha = counts.reshape(-1, n, n, n_subtypes).sum(axis=3) + extra
    return np.array(moments(alpha, prior)), None


MAKERS: dict[str, Callable[..., tuple[np.ndarray, np.ndarray | None]]] = {
    "expected": expected, "normalised": normalised, "right": right, "moments": moments_of,
}  # fmt: skip
"""What is made of a block's counts: (pool, counts, arguments ...) -> (what is said, the table)."""
