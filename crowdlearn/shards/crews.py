"""Who holds the shards: this process, or actors on a Ray cluster."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from crowdlearn.shards.cuts import MAKERS, Counted, of_block
from crowdlearn.shards.homes import no_such_device
from crowdlearn.shards.noted import NotedCrew
from crowdlearn.shards.shard import Shard, blocks_at_once, joined
from crowdlearn.shards.table_store import TableStore, files_of, kinds_of
from crowdlearn.shards.votes import ShardedGold, ShardedVotes
from crowdlearn.sweeps.cuts import Cut
from crowdlearn.sweeps.pool import Pool


class LocalCrew:
    """One shard, in this process."""

    def __init__(
        self, votes: ShardedVotes, gold: ShardedGold, state_class: np.ndarray, n_threads: int,
        cut: Cut | None = None,
    ) -> None:  # fmt: skip
        self.votes, self.gold, self.cut = votes, gold, cut  # so that what it is known by stays
        self.shard = Shard(
            votes, 0, votes.n_buckets, gold, state_class, n_threads, memory=votes.memory, cut=cut
        )
        self.pool = Pool(n_threads)
        self.tables = TableStore(on_disk=votes.memory is not None)
        self.gone: list[str] = []
        self.numbers = itertools.count()
        self._close = weakref.finalize(self, _closed, self.shard, self.tables)

    def call(self, op: str, args: Sequence[Any], creates: Sequence[str] = ()) -> list[Any]:
        """Do an operation; see `spread.Crew`."""
        if self.gone:
            self.shard.forget(self.gone)
            self.gone = []
        found = self.shard.call(op, [self.tables.given(one) for one in args], creates)
        return [joined(None, found, own=not self.shard.on_disk)]

    def forget(self, name: str) -> None:
        """Let an array go before the next operation, or a table now."""
        if not self.tables.forget(name):
            self.gone.append(name)

    def name(self) -> str:
        """A name for a new array."""
        return f"array {next(self.numbers)}"

    def tabulate(
        self, how: str, counts: Counted, given: Sequence[Any], name: str | None
    ) -> list[np.ndarray]:
        """Make something of the counts of each block of workers; see `spread.Crew`."""
        assert self.cut is not None
        own = replace(counts, args=tuple(self.tables.given(one) for one in counts.args))
        step = (
            blocks_at_once(self.votes.memory, self.cut)
            if self.shard.on_disk
            else self.pool.n_threads
        )
        said: list[np.ndarray] = []
        for first in range(0, self.cut.n_blocks, step):
            blocks = range(first, min(first + step, self.cut.n_blocks))
            for block, cells in zip(blocks, self.shard.counted(own, blocks), strict=True):
                there = of_block(given, self.cut.span(block))
                result, table = MAKERS[how](self.pool, cells, *there)
                said.append(result)
                if name is not None and table is not None:
                    self.tables.add(name, table)
        return said

    def block(self, name: str, block: int) -> np.ndarray:
        """A block of a table."""
        return self.tables.held(name).block(block)

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        """An array's entries of these buckets."""
        return self.shard.read(name, start, stop)

    def dump(self, folder: str, names: Sequence[str]) -> None:
        """Write arrays to a folder, a file a bucket, and tables, a file a block."""
        self.shard.dump(folder, [name for name in names if name not in self.tables.by_name])
        self.tables.dump(folder, names)

    def restore(self, folder: str, names: Sequence[str]) -> None:
        """Read back what `dump` wrote."""
        tables, arrays = kinds_of(folder, names)
        for name in tables:
            for file in files_of(folder, name):
                self.tables.add(name, np.load(file))
        self.shard.restore(folder, arrays)


_crews: weakref.WeakValueDictionary[tuple[Any, ...], Any] = weakref.WeakValueDictionary()


def crew_for(
    votes: ShardedVotes, gold: ShardedGold, state_class: np.ndarray, device: str, n_threads: int,
    cut: Cut | None = None,
) -> Any:  # fmt: skip
    """The crew of a device: "auto" and "cpu" are this process, "ray" and "ray://..." a cluster.

    The chains of a fit share one. Raises SettingsError for another device.
    """
    key = id(votes), id(gold), state_class.tobytes(), device, n_threads, cut
    crew = _crews.get(key)
    if crew is None:
        crew = _new_crew(votes, gold, state_class, device, n_threads, cut)
        if votes.checkpoint is not None:
            crew = NotedCrew(crew, votes.checkpoint)
        _crews[key] = crew
    return crew


def _new_crew(
    votes: ShardedVotes, gold: ShardedGold, state_class: np.ndarray, device: str, n_threads: int,
    cut: Cut | None,
) -> Any:  # fmt: skip
    if device in ("auto", "cpu"):
        return LocalCrew(votes, gold, state_class, n_threads, cut)
    if device == "ray" or device.startswith("ray://"):
        from crowdlearn.shards.ray_crew import RayCrew

        return RayCrew(votes, gold, state_class, device, n_threads, cut)
    raise no_such_device(device)


def _closed(shard: Shard, tables: TableStore) -> None:
    shard.close()
    tables.close()


def added(results: Sequence[Any], own: bool = False) -> Any:
    """Results of all shards as one, added in their order; `own` as of `joined`."""
    total: Any = None
    for result in results:
        total = joined(total, result, own)
    return total
