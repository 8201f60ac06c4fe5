"""What an actor on a Ray cluster is, and how it reads tables that no process holds whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from crowdlearn.shards.cluster import got, ray
from crowdlearn.shards.cuts import MAKERS, Counted, Part, add_part, part_of
from crowdlearn.shards.shard import Shard
from crowdlearn.shards.shared import Place, Shared, Table
from crowdlearn.shards.votes import ShardedGold, open_votes
from crowdlearn.sweeps import Sums
from crowdlearn.sweeps.cuts import Cut
from crowdlearn.sweeps.pool import Pool


class Holder:
    """What an actor is: a shard, and how many operations it has done."""

    def __init__(
        self, number: int, folder: str, start: int, stop: int, gold: ShardedGold,
        state_class: np.ndarray, n_threads: int, cut: Cut | None = None,
        place: Place | None = None,
    ) -> None:  # fmt: skip
        self.shard = Shard(
            open_votes(folder), start, stop, gold, state_class, n_threads, cut=cut,
            one_block=n_threads == 1,
        )  # fmt: skip
        self.pool = Pool(n_threads)
        self.at, self.number = 0, number
        self.shared = Shared.found(place, ray.get_runtime_context().get_node_id())

    def is_near(self) -> bool:
        """Whether it sees the memory of the driver."""
        return self.shared is not None

    def call(
        self, at: int, gone: Sequence[str], op: str, creates: Sequence[str], apart: bool, *args: Any
    ) -> Any:
        """Do operation number `at`: whether it was done, and what it gives.

        Not done is one of which earlier ones were lost. With `apart` counts follow by themselves:
        nothing, where they are in the memory that is shared.
        """
        far = self.shared is None
        if at != self.at or (far and any(isinstance(one, Table) for one in args)):
            return ((False, None), None) if apart else (False, None)
        self.shard.forget(gone)
        result = self.shard.call(op, [self._given(one) for one in args], creates)
        self.at += 1
        if isinstance(result, Sums) and self.shared is not None:
            self.shared.counts(self.number)[:] = result.counts
            result = replace(result, counts=np.zeros(0))
        return (
            ((True, replace(result, counts=np.zeros(0))), result.counts)
            if apart
            else (True, result)
        )

    def _given(self, one: Any) -> Any:
        if isinstance(one, Table):
            assert self.shared is not None
            return self.shared.table(one.dtype)
        return one

    def is_at(self, at: int) -> bool:
        """Whether all that came before operation `at` is done."""
        return at == self.at

    def counted(self, at: int, counts: Counted, block: int) -> Part | None:
        """Counts of a block of workers, to be sent; None where earlier operations were lost."""
        if at != self.at:
            return None
        return part_of(self._counted(counts, block), len(self.shard.state_class))

    def made(
        self, at: int, how: str, counts: Counted, block: int, place: int, n_given: int, *rest: Any
    ) -> tuple[np.ndarray | None, Any]:
        """What is made of a block that is this actor's own.

        `rest` are the arguments of the maker, then the counts of the other actors, among which this
        one has its `place`: they are added up in order. None where earlier operations were lost.
        """
        given, parts = rest[:n_given], list(rest[n_given:])
        if at != self.at or any(part is None for part in parts):
            return None, None
        cells = self._counted(counts, block)
        if place > 0:
            mine, cells = cells, np.zeros_like(cells)
            parts.insert(place, (None, mine.reshape(-1, len(self.shard.state_class))))
        for part in parts:
            add_part(cells, part)
        said, table = MAKERS[how](self.pool, cells, *given)
        return said, table

    def _counted(self, counts: Counted, block: int) -> np.ndarray:
        own = [got(one) if isinstance(one, ray.ObjectRef) else one for one in counts.args]
        return self.shard.counted(replace(counts, args=tuple(own)), [block])[0]

    def begin_again(self) -> bool:
        """Empty the shard; whether it sees the memory of the driver."""
        self.shard.arrays.clear()
        return self.is_near()

    def repeat(self, op: str, creates: Sequence[str], *args: Any) -> None:
        """Do an operation again for what it leaves behind."""
        if op == "restore":
            self.shard.restore(*args)
        else:
            self.shard.call(op, args, creates)

    def dump(self, at: int, folder: str, names: Sequence[str]) -> bool:
        """Write arrays; False where earlier operations were lost."""
        if at == self.at:
            self.shard.dump(folder, names)
        return at == self.at

    def caught_up(self, at: int) -> None:
        """All that came before operation `at` is done."""
        self.at = at

    def read(self, at: int, name: str, start: int, stop: int) -> np.ndarray | None:
        """Part of an array; None where earlier operations were lost."""
        return self.shard.read(name, start, stop) if at == self.at else None


@dataclass(frozen=True, eq=False)
class Fetched:
    """A table in Ray's object store, read from there a block at a time."""

    refs: Sequence[Any]

    def block(self, block: int) -> np.ndarray:
        """The flat cells of a block."""
        found: np.ndarray = got(self.refs[block])
        return found

    def blocks(self) -> Iterator[np.ndarray]:
        """All blocks in turn; the next one is on its way while one is used."""
        for block, ref in enumerate(self.refs):
            found = got(ref)
            if block + 1 < len(self.refs):
                ray.wait([self.refs[block + 1]], timeout=0, fetch_local=True)
            yield found
