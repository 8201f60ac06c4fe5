"""The passes over the votes on the CPU: numba kernels over fixed blocks of items.

The number of blocks depends on the data alone, each block has its own counts, and these are added
up in order: the result is the same to the last bit for any number of threads. Problems whose tables
outgrow the caches use float32 tables and posteriors and prefetch; sums are always float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int32

from crowdlearn.sweeps import Sums, kernels, soft_kernels, tables
from crowdlearn.sweeps.items import ItemsAtHand
from crowdlearn.sweeps.pool import Pool, split
from crowdlearn.votes import Votes

VOTES_A_BLOCK = 1 << 17
LARGE_CELLS = 1 << 17  # tables of this many cells outgrow the caches: kept in float32
BLOCK_BYTES = 1 << 26  # counts of all blocks together, before two blocks are given up
MOST_BLOCKS = 64


def dtype_of(n_cells: int) -> Any:
    """Of tables with this many cells, and of posteriors beside them."""
    return np.float32 if n_cells >= LARGE_CELLS else np.float64


@dataclass(frozen=True, eq=False)
class CpuSweeper(ItemsAtHand):
    """Votes, gold answers and states at home on the CPU. Make one with `CpuSweeper.on`."""

    votes: Votes
    gold: Int32[np.ndarray, " item"]  # class of clamped items, -1 elsewhere
    state_class: Int32[np.ndarray, " state"]
    blocks: list[tuple[int, int]]
    block_counts: Float[np.ndarray, "block cell"]
    pool: Pool
    large: bool

    @classmethod
    def on(
        cls, votes: Votes, gold: np.ndarray, state_class: np.ndarray, n_threads: int,
        one_block: bool = False,
    ) -> Any:  # fmt: skip
        """The sweeper of these votes; `n_threads` 0 means all cores.

        With `one_block` there is one set of counts, for one thread that stays one: quicker where
        tables are large beside the votes.
        """
        n_cells = votes.n_workers * votes.n_classes * len(state_class)
        blocks = [(0, votes.n_items)] if one_block else _blocks(votes, n_cells)
        return cls(
            votes=votes,
            gold=np.ascontiguousarray(gold, dtype=np.int32),
            state_class=np.ascontiguousarray(state_class, dtype=np.int32),
            blocks=blocks,
            block_counts=np.zeros((len(blocks), n_cells)),
            pool=Pool(n_threads if len(blocks) > 1 or n_cells > LARGE_CELLS else 1),
            large=n_cells >= LARGE_CELLS,
        )

    @property
    def n_states(self) -> int:
        return len(self.state_class)

    @property
    def dtype(self) -> Any:
        """Of tables and posteriors."""
        return np.float32 if self.large else np.float64

    def posterior(self, start: np.ndarray | None = None) -> Float[np.ndarray, "item state"]:
        """A posterior array of this home: a copy of `start`, or zeros."""
        shape = (self.votes.n_items, self.n_states)
        return np.zeros(shape, self.dtype) if start is None else np.array(start, self.dtype)

    def product(
        self,
        prior: Float[np.ndarray, " state"],
        table: Float[np.ndarray, " cell"],
        posterior: Float[np.ndarray, "item state"],
    ) -> Sums:
        """posterior[i, s] ~ prior[s] * product of the votes' table entries, and its counts.

        Overwrites `posterior` and says by how much it changed. `bound` is the sum over items of the
        log of the normaliser. Gold items keep only the states of their class.
        """
        kernel = kernels.product_kernel(self.n_states, self.large)
        return self._sweep(
            lambda start, stop, counts, totals, _: kernel(
                start, stop, *self._votes(), self._prior(prior), table,
                self.state_class, self.gold, posterior, counts, totals,
            )
        )  # fmt: skip

    def soft(
        self,
        prior: Float[np.ndarray, " state"],
        table: Float[np.ndarray, " cell"],
        opinion: Float[np.ndarray, "vote label"],
        posterior: Float[np.ndarray, "item state"],
        meant: Float[np.ndarray, "vote label"],
    ) -> Sums:
        """`product` where a vote is a distribution over labels; states are the classes.

        A vote's factor is the mean of its table entries under `opinion`. Overwrites `posterior` and
        `meant`, each vote's posterior over labels, by which it is counted.
        """
        return self._sweep(
            lambda start, stop, counts, totals, _: soft_kernels.soft(
                start, stop, self.votes.item_offsets, self.votes.worker, opinion,
                self._prior(prior), table, self.gold, posterior, meant, counts, totals,
            )
        )  # fmt: skip

    def draw(
        self,
        prior: Float[np.ndarray, " state"],
        table: Float[np.ndarray, " cell"],
        uniform: Float[np.ndarray, " item"],
        tally: Float[np.ndarray, "item state"],
        keep: bool,
    ) -> Sums:
        """Draw every item's state from the posterior of `product` and count the draws.

        `uniform` in [0, 1) drives the draws; with `keep` the posterior itself is added to `tally`.
        """
        kernel = kernels.draw_kernel(self.n_states, self.large)
        return self._sweep(
            lambda start, stop, counts, totals, _: (
                kernel(
                    start, stop, *self._votes(), self._prior(prior), table,
                    self.state_class, self.gold, uniform, keep, tally, counts, totals,
                ),
                math.nan,
            )
        )  # fmt: skip

    def mixture(
        self,
        prior: Float[np.ndarray, " state"],
        table: Float[np.ndarray, " cell"],
        guess: Float[np.ndarray, " label"],
        sees: Float[np.ndarray, " item"],
        misses: Float[np.ndarray, " item"],
        posterior: Float[np.ndarray, "item state"],
        seen: Float[np.ndarray, " item"],
    ) -> Sums:
        """`product` where a vote's factor is sees * table entry + misses * guess[label].

        Counts and `guessed` share each vote between the two causes; `seen` gets the expected number
        of an item's votes that came from the table. Overwrites `posterior` and `seen`.
        """
        kernel = kernels.mixture_kernel(self.n_states)
        return self._sweep(
            lambda start, stop, counts, totals, guessed: kernel(
                start, stop, *self._votes(), self._prior(prior), table, guess, sees, misses,
                self.state_class, self.gold, posterior, seen, counts, totals, guessed,
            )
        )  # fmt: skip

    def factorised(
        self,
        log_prior: Float[np.ndarray, " state"],
        log_table: Float[np.ndarray, " cell"],
        log_guess: Float[np.ndarray, " label"],
        log_sees: Float[np.ndarray, " item"],
        log_misses: Float[np.ndarray, " item"],
        own: Float[np.ndarray, " vote"],
        posterior: Float[np.ndarray, "item state"],
        seen: Float[np.ndarray, " item"],
    ) -> Sums:
        """`mixture` with the class and the causes of the votes independent in the posterior.

        `own` is each vote's probability of coming from the table: read, then overwritten, as are
        `posterior` and `seen`. `bound` is the local part of the evidence lower bound.
        """
        kernel = kernels.factorised_kernel(self.n_states)
        return self._sweep(
            lambda start, stop, counts, totals, guessed: kernel(
                start, stop, *self._votes(), log_prior, log_table, log_guess, log_sees, log_misses,
                self.gold, own, posterior, seen, counts, totals, guessed,
            )
        )  # fmt: skip

    def mixture_draw(
        self,
        prior: Float[np.ndarray, " state"],
        table: Float[np.ndarray, " cell"],
        guess: Float[np.ndarray, " label"],
        easiness: Float[np.ndarray, " item"],
        uniform: Float[np.ndarray, " item"],
        vote_uniform: Float[np.ndarray, " vote"],
        tally: Float[np.ndarray, "item state"],
        keep: bool,
        seen: Float[np.ndarray, " item"],
    ) -> Sums:
        """`draw` for the difficulty story: classes with the causes summed out, then the causes."""
        kernel = kernels.mixture_draw_kernel(self.n_states)
        return self._sweep(
            lambda start, stop, counts, totals, guessed: (
                kernel(
                    start, stop, *self._votes(), self._prior(prior), table, guess, easiness,
                    self.state_class, self.gold, uniform, vote_uniform, keep, tally, seen,
                    counts, totals, guessed,
                ),
                math.nan,
            )
        )  # fmt: skip

    def normalised(self, counts: Any, extra: Any) -> tuple[Float[np.ndarray, " cell"], float]:
        """`tables.normalised` in this home."""
        return tables.normalised(counts, extra, self.dtype, self.pool)

    def expected(
        self, counts: Any, extra: Any, logs: bool = False
    ) -> tuple[Float[np.ndarray, " cell"], float]:
        """`tables.expected` in this home."""
        return tables.expected(counts, extra, self.dtype, self.pool, logs)

    def beta_expectations(
        self, seen: Any, beta: tuple[float, float], logs: bool = False
    ) -> tuple[Float[np.ndarray, " item"], Float[np.ndarray, " item"], float]:
        """`tables.beta_expectations` in this home."""
        return tables.beta_expectations(seen, self.votes.item_offsets, beta, self.pool, logs)

    def read(self, posterior: Float[np.ndarray, "item state"]) -> Float[np.ndarray, "item state"]:
        """The posterior as a NumPy array."""
        return posterior

    def evidence(self, score: Float[np.ndarray, " cell"]) -> Float[np.ndarray, "item state"]:
        """The first primitive: every item's sum of its votes' rows of `score`."""
        out = np.empty((self.votes.n_items, self.n_states))
        kernel = kernels.evidence_kernel(self.n_states)
        self.pool.run(lambda a, b: kernel(a, b, *self._votes(), score, out), self.blocks)
        return out

    def counts(self, weight: Float[np.ndarray, "item state"]) -> Sums:
        """The second primitive: for every worker and label, the sum of the items' weights."""
        kernel = kernels.counts_kernel(self.n_states)

        def one(start: int, stop: int, counts: Any, totals: Any, _: Any) -> tuple[float, float]:
            kernel(start, stop, *self._votes(), weight, counts, totals)
            return math.nan, math.nan

        return self._sweep(one)

    def _votes(self) -> tuple[Any, ...]:
        votes = self.votes
        return votes.item_offsets, votes.worker, votes.label, votes.n_classes

    def _prior(self, prior: np.ndarray) -> np.ndarray:
        return np.maximum(prior, kernels.TINY)

    def _sweep(self, kernel: Any) -> Sums:
        """Run `kernel` on every block, each with its own sums, and add these up in order."""
        totals = np.zeros((len(self.blocks), self.n_states))
        guessed = np.zeros((len(self.blocks), self.votes.n_classes))
        results = self.pool.run(
            lambda block: self._sweep_block(kernel, block, totals, guessed),
            [(block,) for block in range(len(self.blocks))],
        )
        counts = self.block_counts[0]
        if len(self.blocks) > 1:
            cells = split(len(counts), len(counts) // tables.CELLS_A_TASK + 1)
            self.pool.run(lambda a, b: kernels.add_up(a, b, self.block_counts, counts), cells)
        return Sums(
            counts=counts,
            totals=totals.sum(axis=0),
            bound=math.fsum(bound for bound, _ in results),
            change=float(np.max([change for _, change in results])),
            guessed=guessed.sum(axis=0),
        )

    def _sweep_block(self, kernel: Any, block: int, totals: Any, guessed: Any) -> Any:
        counts = self.block_counts[block]
        counts[:] = 0
        return kernel(*self.blocks[block], counts, totals[block], guessed[block])


def _blocks(votes: Votes, n_cells: int) -> list[tuple[int, int]]:
    """Ranges of items with about equally many votes each; a function of the data alone."""
    wanted = min(votes.n_votes // VOTES_A_BLOCK, BLOCK_BYTES // (8 * n_cells), MOST_BLOCKS)
    wanted = max(wanted, 2 if votes.n_votes >= 4 * VOTES_A_BLOCK else 1)
    n_blocks = 1 << (wanted.bit_length() - 1)  # a power of two shares out evenly
    targets = np.linspace(0, votes.n_votes, n_blocks + 1)[1:-1]
    cuts = np.unique(np.searchsorted(votes.item_offsets, targets))
    edges = [0, *(int(c) for c in cuts if 0 < c < votes.n_items), votes.n_items]
    return list(zip(edges[:-1], edges[1:], strict=True))
