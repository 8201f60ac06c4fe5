"""Who holds the shards: this process, or actors on a Ray cluster."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from crowdlearn.errors import SettingsError
from crowdlearn.shards.noted import NotedCrew
from crowdlearn.shards.shard import Shard, joined
from crowdlearn.shards.votes import ShardedGold, ShardedVotes


class LocalCrew:
    """One shard, in this process."""

    def __init__(
        self, votes: ShardedVotes, gold: ShardedGold, state_class: np.ndarray, n_threads: int
    ) -> None:
        self.votes, self.gold = votes, gold  # so that what the crew is known by stays
        self.shard = Shard(
            votes, 0, votes.n_buckets, gold, state_class, n_threads, memory=votes.memory
        )
        self.gone: list[str] = []
        self.numbers = itertools.count()
        self._close = weakref.finalize(self, self.shard.close)

    def call(self, op: str, args: Sequence[Any], creates: Sequence[str] = ()) -> list[Any]:
        """Do an operation; see `spread.Crew`."""
        if self.gone:
            self.shard.forget(self.gone)
            self.gone = []
        return [self.shard.call(op, args, creates)]

    def forget(self, name: str) -> None:
        """Let an array go before the next operation."""
        self.gone.append(name)

    def name(self) -> str:
        """A name for a new array."""
        return f"array {next(self.numbers)}"

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        """An array's entries of these buckets."""
        return self.shard.read(name, start, stop)

    def dump(self, folder: str, names: Sequence[str]) -> None:
        """Write arrays to a folder, a file a bucket."""
        self.shard.dump(folder, names)

    def restore(self, folder: str, names: Sequence[str]) -> None:
        """Read back what `dump` wrote."""
        self.shard.restore(folder, names)


_crews: weakref.WeakValueDictionary[tuple[Any, ...], Any] = weakref.WeakValueDictionary()


def crew_for(
    votes: ShardedVotes, gold: ShardedGold, state_class: np.ndarray, device: str, n_threads: int
) -> Any:
    """The crew of a device: "auto" and "cpu" are this process, "ray" and "ray://..." a cluster.

    The chains of a fit share one. Raises SettingsError for another device.
    """
    key = id(votes), id(gold), state_class.tobytes(), device, n_threads
    crew = _crews.get(key)
    if crew is None:
        crew = _new_crew(votes, gold, state_class, device, n_threads)
        if votes.checkpoint is not None:
            crew = NotedCrew(crew, votes.checkpoint)
        _crews[key] = crew
    return crew


def _new_crew(
    votes: ShardedVotes, gold: ShardedGold, state_class: np.ndarray, device: str, n_threads: int
) -> Any:
    if device in ("auto", "cpu"):
        return LocalCrew(votes, gold, state_class, n_threads)
    if device == "ray" or device.startswith("ray://"):
        from crowdlearn.shards.ray_crew import RayCrew

        return RayCrew(votes, gold, state_class, device, n_threads)
    raise SettingsError(
        f"device {device!r}: coded votes are fitted on auto, cpu, ray or ray://HOST"
    )


def added(results: Sequence[Any]) -> Any:
    """Results of all shards as one, added in their order."""
    total: Any = None
    for result in results:
        total = joined(total, result, own=True)
    return total
