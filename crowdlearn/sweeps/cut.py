"""The passes over votes in shards where tables are cut by workers, and no process holds one whole.

Each block of workers has an owner. A table is made a block at a time: every shard counts its votes
by the workers of the block, the owner adds these counts up and makes the block. A pass takes up the
blocks of a table in turn. Posteriors lie with the items as ever.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from crowdlearn.errors import SettingsError, VotesError
from crowdlearn.shards.cuts import Coins, CutCounts, CutTable
from crowdlearn.shards.spread import Spread
from crowdlearn.shards.votes import UNCUT_METHODS, ShardedGold, ShardedVotes
from crowdlearn.sweeps import Sums
from crowdlearn.sweeps.cuts import Cut
from crowdlearn.sweeps.sharded import ShardedSweeper

WHOLE_TABLES = 3  # of eight bytes a cell, that a process holds where tables are not cut


@dataclass(frozen=True, eq=False)
class CutSweeper(ShardedSweeper):
    """`ShardedSweeper` whose counts are `CutCounts`, and tables `CutTable`s."""

    def counts(self, weight: Spread) -> Sums:
        """`CpuSweeper.counts`."""
        return self._with_counts("soft", [weight], "cut totals", weight.ref)

    def product(self, prior: Any, table: Any, posterior: Spread) -> Sums:
        """`CpuSweeper.product`."""
        args = prior, table.ref, posterior.changing
        return self._with_counts("soft", [posterior], "cut product", *args)

    def mixture(
        self, prior: Any, table: Any, guess: Any, sees: Spread, misses: Spread, posterior: Spread,
        seen: Spread,
    ) -> Sums:  # fmt: skip
        """`CpuSweeper.mixture`."""
        args = prior, table.ref, guess, sees.ref, misses.ref, posterior.changing, seen.changing
        of = [posterior, table, guess, sees, misses]
        return self._with_counts("mixed", of, "cut mixture", *args)

    def factorised(
        self, log_prior: Any, log_table: Any, log_guess: Any, log_sees: Spread, log_misses: Spread,
        own: Spread, posterior: Spread, seen: Spread,
    ) -> Sums:  # fmt: skip
        """`CpuSweeper.factorised`."""
        args = (
            log_prior, log_table.ref, log_guess, log_sees.ref, log_misses.ref, own.changing,
            posterior.changing, seen.changing,
        )  # fmt: skip
        return self._with_counts("owned", [posterior, own], "cut factorised", *args)

    def normalised(self, counts: CutCounts, extra: Any) -> tuple[CutTable, float]:  # type: ignore[override]
        """`tables.normalised`, with the owners."""
        table, parts = counts.table("normalised", extra, self.dtype)
        return table, math.fsum(float(part) for part in parts)

    def expected(  # type: ignore[override]
        self, counts: CutCounts, extra: Any, logs: bool = False
    ) -> tuple[CutTable, float]:
        """`tables.expected`, with the owners."""
        table, parts = counts.table("expected", extra, self.dtype, logs)
        return table, math.fsum(float(part) for part in parts)

    def error_table(self, ability: Float[np.ndarray, " worker"]) -> Coins:
        """`tables.error_table`, where it is needed."""
        assert self.cut is not None
        return Coins(self.cut, ability, self.dtype)

    def _with_counts(self, kind: str, of: list[Any], op: str, *args: Any) -> Sums:
        sums = self._pass(op, *args)
        assert self.cut is not None
        counts = CutCounts(self.crew, self.cut, kind, of)
        return Sums(counts, sums.totals, sums.bound, sums.change, sums.guessed)


def sharded(
    votes: ShardedVotes, gold: ShardedGold, states: np.ndarray, device: str, n_threads: int,
    cuts: bool,
) -> ShardedSweeper:  # fmt: skip
    """The sweeper of coded votes, by whether tables are cut.

    Raises SettingsError or VotesError where they must be and the method cannot do with that.
    """
    cut = votes.cut(len(states))
    if cut is not None and not cuts:
        _check_whole(votes, cut)
        cut = None
    kind = ShardedSweeper if cut is None else CutSweeper
    found: ShardedSweeper = kind.on(votes, gold, states, device, n_threads, cut)
    return found


def _check_whole(votes: ShardedVotes, cut: Cut) -> None:
    instead = f"the tables of {', '.join(UNCUT_METHODS)} are not cut by workers: choose another"
    if votes.worker_blocks is not None:
        raise SettingsError(f"worker_blocks = {votes.worker_blocks}: {instead} method, or leave it")
    need, there = WHOLE_TABLES * cut.n_bytes, votes.memory or _memory()
    if need > there:
        raise VotesError(
            f"tables of {cut.n_workers:,} workers, {cut.n_labels} classes take"
            f" {need / 2**30:.1f} GiB in every process, and there are {there / 2**30:.1f} GiB:"
            f" {instead} method"
        )


def _memory() -> int:
    """Bytes of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
