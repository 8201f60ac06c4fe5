"""The passes over votes that lie in shards: `CpuSweeper` on each, and their sums added up.

Tables and sums are NumPy arrays here, as of `CpuSweeper`. What has an entry for each item or vote
is a `Spread`: it lies with the items.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from crowdlearn.shards.crews import added, crew_for
from crowdlearn.shards.spread import Ref, Spread, Uniform
from crowdlearn.shards.votes import ShardedGold, ShardedVotes
from crowdlearn.sweeps import Sums, tables
from crowdlearn.sweeps.cpu import dtype_of
from crowdlearn.sweeps.cuts import Cut
from crowdlearn.sweeps.pool import Pool


@dataclass(frozen=True, eq=False)
class ShardedSweeper:
    """Coded votes, gold answers and states, wherever they lie. Make one with `on`."""

    votes: ShardedVotes
    gold: ShardedGold
    state_class: np.ndarray
    crew: Any
    pool: Pool
    cut: Cut | None = None  # where tables are cut by workers: then it is a `CutSweeper`

    @classmethod
    def on(
        cls, votes: ShardedVotes, gold: ShardedGold, state_class: np.ndarray, device: str,
        n_threads: int, cut: Cut | None = None,
    ) -> Any:  # fmt: skip
        """The sweeper of these votes on a device; see `crew_for`."""
        states = np.ascontiguousarray(state_class, dtype=np.int32)
        crew = crew_for(votes, gold, states, device, n_threads, cut)
        here = n_threads if device in ("auto", "cpu") else 0  # this process waits for the actors
        return cls(votes, gold, states, crew, Pool(here), cut)

    @property
    def n_states(self) -> int:
        return len(self.state_class)

    @property
    def dtype(self) -> Any:
        """Of tables and posteriors."""
        return dtype_of(self.votes.n_workers * self.votes.n_classes * self.n_states)

    @property
    def votes_per_item(self) -> Spread:
        """How many votes each item has."""
        return self._new("votes per item", [], self.votes.n_items)

    def start(self, start: Any, rng: np.random.Generator, n_subtypes: int = 1) -> Spread:
        """`CpuSweeper.start`; every bucket has a stream of its own."""
        return self._new("begin", [start, entropy_of(rng), n_subtypes], self.votes.n_items)

    def first_truths(self, start: Any, rng: np.random.Generator) -> Spread:
        """`CpuSweeper.first_truths`."""
        first = self.start(start, rng)
        return self._new("first truths", [first.ref, entropy_of(rng)], self.votes.n_items)

    def tally(self) -> Spread:
        """Zeros for each item and class."""
        return self._new("tally", [self.votes.n_classes], self.votes.n_items)

    def per_vote(self, value: float) -> Spread:
        """One number for each vote."""
        return self._new("constant", [value, "vote"], self.votes.n_votes)

    def uniform(self, rng: np.random.Generator, of: str = "item") -> Uniform:
        """Numbers in [0, 1) for each item or vote, drawn where they are used."""
        return Uniform(entropy_of(rng), of)

    def beta(self, rng: np.random.Generator, a: Spread, b: Spread) -> Spread:
        """A draw from Beta(a, b) for each item."""
        return self._new("beta", [a.ref, b.ref, entropy_of(rng)], self.votes.n_items)

    def by_class(self, posterior: Spread) -> Spread:
        """The posterior of the classes: states of a class added up."""
        return self._new("by class", [posterior.ref, self.votes.n_classes], self.votes.n_items)

    def label_counts(self) -> Float[np.ndarray, " label"]:
        """How many votes say each label."""
        return self.votes.votes_per_class.astype(np.float64)

    def share_totals(self) -> Float[np.ndarray, " class"]:
        """Each class's share of an item's votes, summed over items."""
        parts = self.crew.call("share totals", [])
        return sum(parts[1:], parts[0])

    def counts(self, weight: Spread) -> Sums:
        """`CpuSweeper.counts`."""
        return self._pass("counts", weight.ref)

    def product(self, prior: Any, table: Any, posterior: Spread) -> Sums:
        """`CpuSweeper.product`."""
        return self._pass("product", prior, table, posterior.changing)

    def draw(self, prior: Any, table: Any, uniform: Any, tally: Spread, keep: bool) -> Sums:
        """`CpuSweeper.draw`."""
        return self._pass("draw", prior, table, uniform, tally.changing, keep)

    def mixture(
        self, prior: Any, table: Any, guess: Any, sees: Spread, misses: Spread, posterior: Spread,
        seen: Spread,
    ) -> Sums:  # fmt: skip
        """`CpuSweeper.mixture`."""
        return self._pass(
            "mixture", prior, table, guess, sees.ref, misses.ref, posterior.changing, seen.changing
        )

    def factorised(
        self, log_prior: Any, log_table: Any, log_guess: Any, log_sees: Spread, log_misses: Spread,
        own: Spread, posterior: Spread, seen: Spread,
    ) -> Sums:  # fmt: skip
        """`CpuSweeper.factorised`."""
        return self._pass(
            "factorised", log_prior, log_table, log_guess, log_sees.ref, log_misses.ref,
            own.changing, posterior.changing, seen.changing,
        )  # fmt: skip

    def mixture_draw(
        self, prior: Any, table: Any, guess: Any, easiness: Spread, uniform: Any,
        vote_uniform: Any, tally: Spread, keep: bool, seen: Spread,
    ) -> Sums:  # fmt: skip
        """`CpuSweeper.mixture_draw`."""
        return self._pass(
            "mixture_draw", prior, table, guess, easiness.ref, uniform, vote_uniform,
            tally.changing, keep, seen.changing,
        )  # fmt: skip

    def normalised(self, counts: Any, extra: Any) -> tuple[Float[np.ndarray, " cell"], float]:
        """`tables.normalised`, here."""
        return tables.normalised(counts, extra, self.dtype, self.pool)

    def expected(
        self, counts: Any, extra: Any, logs: bool = False
    ) -> tuple[Float[np.ndarray, " cell"], float]:
        """`tables.expected`, here."""
        return tables.expected(counts, extra, self.dtype, self.pool, logs)

    def error_table(self, ability: Float[np.ndarray, " worker"]) -> Any:
        """`tables.error_table`, here."""
        return tables.error_table(ability, self.votes.n_classes).astype(self.dtype)

    def beta_expectations(
        self, seen: Spread, beta: tuple[float, float], logs: bool = False
    ) -> tuple[Spread, Spread, float]:
        """`tables.beta_expectations`, where the items lie."""
        sees, misses = (Spread(self.crew, self.votes.n_items) for _ in range(2))
        parts = self.crew.call(
            "expectations", [seen.ref, beta, logs], creates=[sees.name, misses.name]
        )
        return sees, misses, float(sum(parts))

    def read(self, posterior: Spread) -> Spread:
        """The posterior, where it lies."""
        return posterior

    def _new(self, op: str, args: list[Any], length: int) -> Spread:
        made = Spread(self.crew, length)
        self.crew.call(op, args, creates=[made.name])
        return made

    def _pass(self, op: str, *args: Any | Ref) -> Sums:
        found: Sums = added(self.crew.call(op, args))
        return found


def entropy_of(rng: np.random.Generator) -> tuple[int, ...]:
    """Numbers that name a stream of the generator's own; each call gives another."""
    return tuple(int(word) for word in rng.integers(0, 1 << 32, 4))
