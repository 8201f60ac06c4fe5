"""Tables too large for one process, cut into ranges of workers ("blocks")."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

BLOCK_BYTES = 1 << 23  # of a block's counts, at most, where nobody says how many blocks
CUT_BYTES = 1 << 28  # counts above this are cut where nobody says


@dataclass(frozen=True)
class Cut:
    """Flat (worker, label, state) tables in blocks of equally many workers, the last with fewer."""

    n_workers: int
    n_labels: int
    n_states: int
    size: int  # workers a block

    @classmethod
    def of(cls, n_workers: int, n_labels: int, n_states: int, n_blocks: int | None) -> Cut | None:
        """About `n_blocks` blocks; left out, as many as the size asks for. None: no cut."""
        n_bytes = 8 * n_workers * n_labels * n_states
        wanted = n_blocks or (-(-n_bytes // BLOCK_BYTES) if n_bytes > CUT_BYTES else 1)
        size = -(-n_workers // min(wanted, n_workers))
        return None if size == n_workers else cls(n_workers, n_labels, n_states, size)

    @property
    def n_blocks(self) -> int:
        return -(-self.n_workers // self.size)

    @property
    def block_bytes(self) -> int:
        """Of a block's counts."""
        return 8 * self.size * self.n_labels * self.n_states

    @property
    def n_bytes(self) -> int:
        """Of all counts."""
        return 8 * self.n_workers * self.n_labels * self.n_states

    def span(self, block: int) -> slice:
        """The workers of a block."""
        return slice(block * self.size, min((block + 1) * self.size, self.n_workers))

    def zeros(self, block: int) -> np.ndarray:
        """A block's counts before any vote."""
        workers = self.span(block)
        return np.zeros((workers.stop - workers.start) * self.n_labels * self.n_states)


class InBlocks:
    """Base of the tables and counts that are cut by workers (`crowdlearn.shards.cuts`)."""


class CutArray:
    """An array of workers, read a block at a time: `block`; all of it at once: `np.asarray`."""

    def __init__(
        self, cut: Cut, row: tuple[int, ...], dtype: Any, read: Callable[[int], np.ndarray]
    ) -> None:
        self.cut, self.dtype, self._read = cut, np.dtype(dtype), read
        self.shape = (cut.n_workers, *row)

    def block(self, block: int) -> np.ndarray:
        """The rows of the workers of a block."""
        return self._read(block).astype(self.dtype, copy=False)

    def blocks(self) -> Iterator[np.ndarray]:
        """All blocks in turn."""
        return (self.block(k) for k in range(self.cut.n_blocks))

    def mapped(self, function: Callable[[np.ndarray], np.ndarray]) -> CutArray:
        """`function` of every block, which keeps shapes, when it is read."""
        return CutArray(self.cut, self.shape[1:], self.dtype, lambda k: function(self._read(k)))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, at: Any) -> np.ndarray:
        """One worker's rows; of any other index, those of the whole array."""
        if not isinstance(at, int | np.integer):
            found: np.ndarray = np.asarray(self)[at]
            return found
        block, place = divmod(range(len(self))[at], self.cut.size)
        row: np.ndarray = self.block(block)[place]
        return row

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:  # noqa: ARG002
        whole = np.empty(self.shape, self.dtype if dtype is None else dtype)
        for k, rows in enumerate(self.blocks()):
            whole[self.cut.span(k)] = rows
        return whole
