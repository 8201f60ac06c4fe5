"""Shards on a Ray cluster: an actor holds each, reads its own buckets, and is built anew if lost.

Actors read the coded folder themselves, so every machine must see it under the same path. What is
added up (counts of workers) meets in a tree. An actor that dies comes back empty and says so; the
operations that its arrays are made of are then done again there, and nowhere else.
"""

from __future__ import annotations

import itertools
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from crowdlearn.shards.cluster import (
    check_memory,
    connect,
    got,
    n_actors_of,
    places,
    ranges_of,
    ray,
)
from crowdlearn.shards.cuts import Coins, Counted, PerWorker, TableRef, of_block
from crowdlearn.shards.holder import Fetched, Holder
from crowdlearn.shards.journal import Entry, Journal
from crowdlearn.shards.shard import joined
from crowdlearn.shards.table_store import file_of, files_of, kinds_of
from crowdlearn.shards.votes import ShardedGold, ShardedVotes
from crowdlearn.sweeps import Sums
from crowdlearn.sweeps.cuts import Cut

LARGE = 1 << 17  # bytes of an argument that is sent once for all actors
COUNTED_AHEAD, MAKING = 2, 2  # blocks of workers under way at once
TREE = 1 << 20  # cells of counts that are added on the cluster
A_LITTLE = 1 << 20  # bytes that an actor reserves: one that reserves nothing is placed by chance


class RayCrew:
    """Actors, each with a range of buckets. Kept for a fit; its end lets them go."""

    def __init__(
        self, votes: ShardedVotes, gold: ShardedGold, state_class: np.ndarray, device: str,
        n_threads: int, cut: Cut | None = None,
    ) -> None:  # fmt: skip
        connect(device)
        threads = max(n_threads, 1)
        self.votes, self.gold, self.cut = votes, gold, cut  # so that what it is known by stays
        self.ranges = ranges_of(votes, n_actors_of(votes, threads))
        check_memory(votes, self.ranges, len(state_class), cut)
        holder = ray.remote(num_cpus=0, memory=A_LITTLE, max_restarts=-1, max_task_retries=-1)(
            Holder
        )  # no core is reserved: results of earlier fits keep their actors
        self.actors: list[Any] = [
            holder.options(scheduling_strategy=place).remote(
                votes.folder, *span, gold, state_class, threads, cut
            )
            for span, place in zip(self.ranges, places(len(self.ranges)), strict=True)
        ]
        self.tables: dict[str, list[Any]] = {}  # name -> a reference for each block
        self.journal, self.at, self.gone = Journal(), 0, list[str]()
        self.numbers = itertools.count()
        self._close = weakref.finalize(self, _let_go, self.actors)

    def call(self, op: str, args: Sequence[Any], creates: Sequence[str] = ()) -> list[Any]:
        """Do an operation; see `spread.Crew`. Large counts come added up already."""
        gone, self.gone = self.gone, []
        sent = [self._sent(one) for one in args]
        asked = [
            actor.call.options(num_returns=2).remote(self.at, gone, op, list(creates), *sent)
            for actor in self.actors
        ]
        results = [self._settled(k, said, op, sent, creates) for k, said in enumerate(asked)]
        self.at += 1
        self.journal.add(op, sent, creates)
        return _gathered(results)

    def forget(self, name: str) -> None:
        """Let an array go before the next operation, or a table now."""
        if self.tables.pop(name, None) is None:
            self.gone.append(name)
            self.journal.forget(name)

    def name(self) -> str:
        """A name for a new array."""
        return f"array {next(self.numbers)}"

    def tabulate(
        self, how: str, counts: Counted, given: Sequence[Any], name: str | None
    ) -> list[np.ndarray]:
        """Make something of the counts of each block of workers; see `spread.Crew`.

        Every actor counts, the block's owner adds up and makes. The blocks to come are counted
        before one is made, so that no actor waits for another; and no more of them than a few.
        """
        assert self.cut is not None
        n = self.cut.n_blocks
        asked = replace(counts, args=tuple(self._sent(one) for one in counts.args))
        own = [one if isinstance(one, PerWorker) else self._sent(one) for one in given]
        said: list[np.ndarray] = []
        tables: list[Any] = []
        counted: deque[list[Any]] = deque()
        making: deque[_Block] = deque()
        for step in range(n + COUNTED_AHEAD + MAKING):
            if step < n:
                counted.append(self._counts_asked(step, asked))
            if 0 <= (block := step - COUNTED_AHEAD) < n:
                making.append(self._making(block, how, asked, own, counted.popleft()))
            if step >= COUNTED_AHEAD + MAKING:
                result, table = self._made(making.popleft(), how, asked, own)
                said.append(result)
                tables.append(table)
        if name is not None:
            self.tables[name] = tables
        return said

    def block(self, name: str, block: int) -> np.ndarray:
        """A block of a table."""
        found: np.ndarray = got(self.tables[name][block])
        return found

    def _counts_asked(self, block: int, counts: Counted) -> list[Any]:
        """All actors but its owner asked to count the votes of a block of workers."""
        owner = block % len(self.actors)
        others = (actor for k, actor in enumerate(self.actors) if k != owner)
        return [actor.counted.remote(self.at, counts, block) for actor in others]

    def _making(
        self, block: int, how: str, counts: Counted, given: Sequence[Any], parts: Sequence[Any]
    ) -> _Block:
        """The owner of a block asked to make something of it."""
        assert self.cut is not None
        owner, there = block % len(self.actors), of_block(given, self.cut.span(block))
        made = (
            self.actors[owner].made.options(num_returns=2)
            .remote(self.at, how, counts, block, owner, len(there), *there, *parts)
        )  # fmt: skip
        return _Block(block, made)

    def _made(
        self, one: _Block, how: str, counts: Counted, given: Sequence[Any]
    ) -> tuple[np.ndarray, Any]:
        """What is said of a block, and the reference to its table, once they are there."""
        while (said := got(one.made[0])) is None:
            for actor in self.actors:
                if not got(actor.is_at.remote(self.at)):
                    self._do_again(actor)
            parts = self._counts_asked(one.number, counts)
            one = self._making(one.number, how, counts, given, parts)
        return said, one.made[1]

    def _sent(self, one: Any) -> Any:
        """An argument as it is sent: what is large once for all actors."""
        if isinstance(one, TableRef):
            return Fetched(self.tables[one.name])
        return ray.put(one) if _is_large(one) else one

    def dump(self, folder: str, names: Sequence[str]) -> None:
        """Write arrays to a folder that all machines see, a file a bucket or a block."""
        arrays = [name for name in names if name not in self.tables]
        for actor in self.actors:
            while not got(actor.dump.remote(self.at, folder, arrays)):
                self._do_again(actor)
        for name in set(names) & set(self.tables):
            for block, ref in enumerate(self.tables[name]):
                np.save(file_of(folder, name, block), got(ref))

    def restore(self, folder: str, names: Sequence[str]) -> None:
        """Read back what `dump` wrote; an actor that is lost later reads it again."""
        tables, arrays = kinds_of(folder, names)
        for name in tables:
            self.tables[name] = [ray.put(np.load(file)) for file in files_of(folder, name)]
        entry = Entry("restore", (folder, arrays), tuple(arrays))
        self.journal.entries, self.journal.alive = [entry], set(arrays)
        for actor in self.actors:
            self._do_again(actor)

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        """An array's entries of these buckets."""
        for actor, (first, last) in zip(self.actors, self.ranges, strict=True):
            if first <= start and stop <= last:
                while (found := got(actor.read.remote(self.at, name, start, stop))) is None:
                    self._do_again(actor)
                return np.array(found)
        raise ValueError(f"buckets {start} to {stop} are with no one actor")

    def _settled(
        self, k: int, asked: Sequence[Any], op: str, sent: Sequence[Any], creates: Sequence[str]
    ) -> Any:
        """The reference to an actor's result, once it is there."""
        status, result = asked
        while not got(status):
            self._do_again(self.actors[k])
            status, result = (
                self.actors[k].call.options(num_returns=2)
                .remote(self.at, [], op, list(creates), *sent)
            )  # fmt: skip
        return result

    def _do_again(self, actor: Any) -> None:
        """Bring an actor that came back empty to where the others are."""
        got(actor.begin_again.remote())
        for entry in self.journal.entries:
            got(actor.repeat.remote(entry.op, list(entry.creates), *entry.args))
        got(actor.caught_up.remote(self.at))


@dataclass(frozen=True)
class _Block:
    """A block of workers under way: what is said of it, and its table, as references."""

    number: int
    made: Sequence[Any]


def _gathered(refs: Sequence[Any]) -> list[Any]:
    """The results; large counts are added in pairs on the cluster first."""
    first = got(refs[0])
    if not (isinstance(first, Sums) and len(first.counts) >= TREE and len(refs) > 2):
        return [first, *(got(ref) for ref in refs[1:])]
    pair = ray.remote(num_cpus=0)(_paired)
    level = list(refs)
    while len(level) > 1:
        level = [
            pair.remote(*level[k : k + 2]) if k + 1 < len(level) else level[k]
            for k in range(0, len(level), 2)
        ]
    return [got(level[0])]


def _paired(a: Sums, b: Sums) -> Sums:
    added: Sums = joined(joined(None, a, own=True), b, own=True)
    return added


def _is_large(one: Any) -> bool:
    array = one.ability if isinstance(one, Coins) else one
    return isinstance(array, np.ndarray) and array.nbytes >= LARGE


def _let_go(actors: Sequence[Any]) -> None:
    if ray.is_initialized():
        for actor in actors:
            ray.kill(actor)
