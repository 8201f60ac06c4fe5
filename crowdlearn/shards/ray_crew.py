"""Shards on a Ray cluster: an actor holds each, reads its own buckets, and is built anew if lost.

Actors read the coded folder themselves, so every machine must see it under the same path. Actors on
the driver's machine share memory with it. What is added up (counts of workers) meets here, or in a
tree. An actor that dies comes back empty and says so; the operations that its arrays are made of
are then done again there, and nowhere else.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from crowdlearn.shards.cluster import (
    GONE,
    check_memory,
    connect,
    got,
    n_actors_of,
    places,
    ranges_of,
    ray,
)
from crowdlearn.shards.crews import added
from crowdlearn.shards.cuts import Coins, Counted, PerWorker, TableRef
from crowdlearn.shards.holder import Fetched, Holder
from crowdlearn.shards.journal import Journal
from crowdlearn.shards.operations import PASSES, SILENT
from crowdlearn.shards.ray_sums import gathered
from crowdlearn.shards.ray_tables import Made, lost, made_again, tabulated
from crowdlearn.shards.shared import Shared
from crowdlearn.shards.table_store import file_of, files_of, kinds_of
from crowdlearn.shards.votes import ShardedGold, ShardedVotes
from crowdlearn.sweeps import Sums
from crowdlearn.sweeps.cuts import Cut

LARGE = 1 << 17  # bytes of an argument that is sent once for all actors, and of counts to share
TREE = 1 << 20  # cells of counts that are added on the cluster
ONE_TABLE = {"counts", "product"}  # passes whose table nobody needs once there is another
A_LITTLE = 1 << 20  # bytes that an actor reserves: one that reserves nothing is placed by chance
TRIES = 3  # of an operation whose table went with a machine


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
        n_cells = 0 if cut else votes.n_workers * votes.n_classes * len(state_class)
        self.in_tree = n_cells >= TREE and len(self.ranges) > 2
        self.shared = _shared(n_cells, len(self.ranges))
        holder = ray.remote(num_cpus=0, memory=A_LITTLE, max_restarts=-1, max_task_retries=-1)(
            Holder
        )  # no core is reserved: results of earlier fits keep their actors
        place = None if self.shared is None else self.shared.place
        self.actors: list[Any] = [
            holder.options(scheduling_strategy=there, enable_task_events=False).remote(
                k, votes.folder, *span, gold, state_class, threads, cut, place
            )
            for k, (span, there) in enumerate(
                zip(self.ranges, places(len(self.ranges)), strict=True)
            )
        ]
        self._close = weakref.finalize(self, _let_go, self.actors, self.shared)
        self.near: list[bool] = got([actor.is_near.remote() for actor in self.actors])
        self.tables: dict[str, Made] = {}
        self.journal, self.at, self.gone = Journal(), 0, list[str]()
        self.numbers = itertools.count()

    def call(self, op: str, args: Sequence[Any], creates: Sequence[str] = ()) -> list[Any]:
        """Do an operation; see `spread.Crew`. Of `Sums` there is one: the actors' added up."""
        gone, self.gone = self.gone, []
        names = [one.name for one in args if isinstance(one, TableRef)]
        found, sent = self._with_tables(names, lambda: self._called(op, args, creates, gone))
        self.at += 1
        self.journal.add(op, sent, creates)
        return list(found)

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
        """Make something of the counts of each block of workers; see `spread.Crew`."""
        names = [one.name for one in counts.args if isinstance(one, TableRef)]

        def make() -> list[np.ndarray]:
            asked = replace(counts, args=tuple(self._sent(one) for one in counts.args))
            own = [one if isinstance(one, PerWorker) else self._sent(one) for one in given]
            said, refs = tabulated(self, how, asked, own)
            if name is not None:
                self.tables[name] = Made(refs, (how, asked, own))
            return said

        return self._with_tables(names, make)

    def block(self, name: str, block: int) -> np.ndarray:
        """A block of a table."""
        found: np.ndarray = self._with_tables([name], lambda: got(self.tables[name].refs[block]))
        return found

    def dump(self, folder: str, names: Sequence[str]) -> None:
        """Write arrays to a folder that all machines see, a file a bucket or a block.

        An actor that is lost later reads them, so they have to stay until the next dump.
        """
        arrays = [name for name in names if name not in self.tables]
        for k, actor in enumerate(self.actors):
            while not got(actor.dump.remote(self.at, folder, arrays)):
                self._do_again(k)
        for name in set(names) & set(self.tables):
            for block in range(len(self.tables[name].refs)):
                np.save(file_of(folder, name, block), self.block(name, block))
        self.journal.restart(folder, arrays)

    def restore(self, folder: str, names: Sequence[str]) -> None:
        """Read back what `dump` wrote; an actor that is lost later reads it again."""
        tables, arrays = kinds_of(folder, names)
        for name in tables:
            self.tables[name] = Made([ray.put(np.load(file)) for file in files_of(folder, name)])
        self.journal.restart(folder, arrays)
        for k in range(len(self.actors)):
            self._do_again(k)

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        """An array's entries of these buckets."""
        for k, (first, last) in enumerate(self.ranges):
            if first <= start and stop <= last:
                ask = self.actors[k].read.remote
                while (found := got(ask(self.at, name, start, stop))) is None:
                    self._do_again(k)
                return np.array(found)
        raise ValueError(f"buckets {start} to {stop} are with no one actor")

    def catch_up(self, at: int) -> None:
        """Bring actors that came back empty to where the others are, `at` operations done."""
        for k, actor in enumerate(self.actors):
            if not got(actor.is_at.remote(at)):
                self._do_again(k)

    def _called(
        self, op: str, args: Sequence[Any], creates: Sequence[str], gone: Sequence[str]
    ) -> tuple[list[Any], list[Any]]:
        """An operation done by all, and its arguments as they can be sent again.

        Nobody waits for an operation that gives nothing.
        """
        sent: dict[bool, list[Any]] = {}
        apart = self.in_tree and op in PASSES

        def ask(k: int) -> list[Any]:
            near = self.near[k] and op in ONE_TABLE
            if near not in sent:
                sent[near] = [self._sent(one, near) for one in args]
            call = self.actors[k].call.options(num_returns=1 + apart)
            said = call.remote(self.at, list(gone), op, list(creates), apart, *sent[near])
            return list(said) if apart else [said]

        asked = [ask(k) for k in range(len(self.actors))]
        found = [None] * len(asked) if op in SILENT else self._settled(asked, ask)
        return found, sent.get(False) or [self._kept(one) for one in args]

    def _settled(self, asked: list[list[Any]], ask: Callable[[int], list[Any]]) -> list[Any]:
        """What the actors give, once all is there."""
        while True:
            said = got([one[0] for one in asked])
            results = [result for _, result in said]
            if all(done for done, _ in said):
                if not isinstance(results[0], Sums):
                    return results
                slots = [self._slot(k) for k in range(len(self.actors))]
                counts = gathered(slots, [one[1:] for one in asked], results)
                if counts is not None:
                    heads = [replace(one, counts=np.zeros(0)) for one in results]
                    return [replace(added(heads), counts=counts)]
            for k, actor in enumerate(self.actors):
                if not got(actor.is_at.remote(self.at + 1)):
                    self._do_again(k)
                    asked[k] = ask(k)

    def _sent(self, one: Any, near: bool = False) -> Any:
        """An argument as it is sent: what is large once for all actors."""
        if not _is_large(one):
            return self._kept(one)
        if near and self.shared is not None and self.shared.fits(one):
            return self.shared.put(one)
        return ray.put(one)

    def _slot(self, k: int) -> np.ndarray | None:
        """The counts of an actor in memory that is shared."""
        return self.shared.counts(k) if self.shared is not None and self.near[k] else None

    def _kept(self, one: Any) -> Any:
        """An argument as it is kept, to be sent again."""
        return Fetched(self.tables[one.name].refs) if isinstance(one, TableRef) else one

    def _do_again(self, k: int) -> None:
        """Bring an actor that came back empty to where the others are."""
        actor = self.actors[k]
        self.near[k] = got(actor.begin_again.remote())
        for entry in self.journal.entries:
            got(actor.repeat.remote(entry.op, list(entry.creates), *entry.args))
        got(actor.caught_up.remote(self.at))

    def _with_tables(self, names: Sequence[str], do: Callable[[], Any]) -> Any:
        """What `do` gives. Tables of these names that went with a machine are made again before.

        Raises ClusterError where that cannot be.
        """
        for left in reversed(range(TRIES)):
            try:
                return do()
            except GONE as error:
                if not left:
                    raise lost(error) from error
            try:
                for k in range(len(self.actors)):
                    self._do_again(k)
                for name in names:
                    self.tables[name] = made_again(self, self.tables[name])
            except GONE as error:
                raise lost(error) from error
        raise AssertionError


def _shared(n_cells: int, n_actors: int) -> Shared | None:
    """Memory for a table and counts that are worth it."""
    if 8 * n_cells <= LARGE or ray.util.client.ray.is_connected():  # there the driver is elsewhere
        return None
    return Shared.new(ray.get_runtime_context().get_node_id(), n_cells, n_actors)


def _is_large(one: Any) -> bool:
    array = one.ability if isinstance(one, Coins) else one
    return isinstance(array, np.ndarray) and array.nbytes >= LARGE


def _let_go(actors: Sequence[Any], shared: Shared | None) -> None:
    if shared is not None:
        shared.close()
    if ray.is_initialized():
        for actor in actors:
            ray.kill(actor)
