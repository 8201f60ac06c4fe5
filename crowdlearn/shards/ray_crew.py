"""Shards on a Ray cluster: an actor holds each, reads its own buckets, and is built anew if lost.

Actors read the coded folder themselves, so every machine must see it under the same path. What is
added up (counts of workers) meets in a tree. An actor that dies comes back empty and says so; the
operations that its arrays are made of are then done again there, and nowhere else.
"""

from __future__ import annotations

import itertools
import os
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from crowdlearn.errors import CrowdlearnError, SettingsError, VotesError
from crowdlearn.shards.journal import Entry, Journal
from crowdlearn.shards.shard import RUNTIME, Shard, joined
from crowdlearn.shards.votes import ShardedGold, ShardedVotes, open_votes
from crowdlearn.sweeps import Sums

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # leave a GPU's variables be

try:
    import ray
except ImportError as error:
    raise ImportError("device 'ray' needs Ray: pip install 'crowdlearn[ray]'") from error

LARGE = 1 << 17  # bytes of an argument that is sent once for all actors
TREE = 1 << 20  # cells of counts that are added on the cluster


class RayCrew:
    """Actors, each with a range of buckets. Kept for a fit; its end lets them go."""

    def __init__(
        self, votes: ShardedVotes, gold: ShardedGold, state_class: np.ndarray, device: str,
        n_threads: int,
    ) -> None:  # fmt: skip
        connect(device)
        threads = max(n_threads, 1)
        self.votes, self.gold = votes, gold  # so that what the crew is known by stays
        self.ranges = cut(votes, _n_actors(votes, threads))
        _check_memory(votes, self.ranges, len(state_class))
        holder = ray.remote(
            num_cpus=0, scheduling_strategy="SPREAD", max_restarts=-1, max_task_retries=-1
        )(Holder)  # no core is reserved: results of earlier fits keep their actors
        self.actors: list[Any] = [
            holder.remote(votes.folder, *span, gold, state_class, threads) for span in self.ranges
        ]
        self.journal, self.at, self.gone = Journal(), 0, list[str]()
        self.numbers = itertools.count()
        self._close = weakref.finalize(self, _let_go, self.actors)

    def call(self, op: str, args: Sequence[Any], creates: Sequence[str] = ()) -> list[Any]:
        """Do an operation; see `spread.Crew`. Large counts come added up already."""
        gone, self.gone = self.gone, []
        sent = [ray.put(one) if _is_large(one) else one for one in args]
        asked = [
            actor.call.options(num_returns=2).remote(self.at, gone, op, list(creates), *sent)
            for actor in self.actors
        ]
        results = [self._settled(k, said, op, sent, creates) for k, said in enumerate(asked)]
        self.at += 1
        self.journal.add(op, sent, creates)
        return _gathered(results)

    def forget(self, name: str) -> None:
        """Let an array go before the next operation."""
        self.gone.append(name)
        self.journal.forget(name)

    def name(self) -> str:
        """A name for a new array."""
        return f"array {next(self.numbers)}"

    def dump(self, folder: str, names: Sequence[str]) -> None:
        """Write arrays to a folder that all machines see, a file a bucket."""
        for actor in self.actors:
            while not _got(actor.dump.remote(self.at, folder, list(names))):
                self._do_again(actor)

    def restore(self, folder: str, names: Sequence[str]) -> None:
        """Read back what `dump` wrote; an actor that is lost later reads it again."""
        entry = Entry("restore", (folder, list(names)), tuple(names))
        self.journal.entries, self.journal.alive = [entry], set(names)
        for actor in self.actors:
            self._do_again(actor)

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        """An array's entries of these buckets."""
        for actor, (first, last) in zip(self.actors, self.ranges, strict=True):
            if first <= start and stop <= last:
                while (found := _got(actor.read.remote(self.at, name, start, stop))) is None:
                    self._do_again(actor)
                return np.array(found)
        raise ValueError(f"buckets {start} to {stop} are with no one actor")

    def _settled(
        self, k: int, asked: Sequence[Any], op: str, sent: Sequence[Any], creates: Sequence[str]
    ) -> Any:
        """The reference to an actor's result, once it is there."""
        status, result = asked
        while not _got(status):
            self._do_again(self.actors[k])
            status, result = (
                self.actors[k].call.options(num_returns=2)
                .remote(self.at, [], op, list(creates), *sent)
            )  # fmt: skip
        return result

    def _do_again(self, actor: Any) -> None:
        """Bring an actor that came back empty to where the others are."""
        _got(actor.begin_again.remote())
        for entry in self.journal.entries:
            _got(actor.repeat.remote(entry.op, list(entry.creates), *entry.args))
        _got(actor.caught_up.remote(self.at))


class Holder:
    """What an actor is: a shard, and how many operations it has done."""

    def __init__(
        self, folder: str, start: int, stop: int, gold: ShardedGold, state_class: np.ndarray,
        n_threads: int,
    ) -> None:  # fmt: skip
        self.shard = Shard(open_votes(folder), start, stop, gold, state_class, n_threads)
        self.at = 0

    def call(
        self, at: int, gone: Sequence[str], op: str, creates: Sequence[str], *args: Any
    ) -> tuple[bool, Any]:
        """Do operation number `at`; False and nothing where earlier ones were lost."""
        if at != self.at:
            return False, None
        self.shard.forget(gone)
        result = self.shard.call(op, args, creates)
        self.at += 1
        return True, result

    def begin_again(self) -> None:
        """Empty the shard."""
        self.shard.arrays.clear()

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


def connect(device: str) -> None:
    """Join the cluster: a running one where there is one, else one on this machine."""
    if ray.is_initialized():
        return
    options: dict[str, Any] = {"log_to_driver": False, "include_dashboard": False}
    if device.startswith("ray://"):
        ray.init(address=device, log_to_driver=False)
        return
    try:
        ray.init(address="auto", log_to_driver=False)
    except ConnectionError:
        ray.init(**options)


def cut(votes: ShardedVotes, n: int) -> list[tuple[int, int]]:
    """At most `n` ranges of buckets with about equally many votes each."""
    ends = votes.bucket_votes.cumsum()
    targets = np.linspace(0, ends[-1], n + 1)[1:-1]
    cuts = np.searchsorted(ends, targets) + 1
    edges = [0, *sorted({int(c) for c in cuts if 0 < c < votes.n_buckets}), votes.n_buckets]
    return list(zip(edges[:-1], edges[1:], strict=True))


def need_of(votes: ShardedVotes, span: tuple[int, int], n_states: int) -> int:
    """Bytes that an actor with these buckets takes, about."""
    own = slice(*span)
    tables = 2 * 8 * votes.n_workers * votes.n_classes * n_states
    per_item = 8 * (2 * n_states + 4)
    return int(
        RUNTIME + tables + 24 * votes.bucket_votes[own].sum()
        + per_item * votes.bucket_items[own].sum()
    )  # fmt: skip


def _n_actors(votes: ShardedVotes, threads: int) -> int:
    cores = int(ray.cluster_resources().get("CPU", 1))
    wanted = max(cores // threads, 1) if votes.n_actors is None else votes.n_actors
    if wanted < 1:
        raise SettingsError(f"n_actors = {wanted}: give at least 1")
    if wanted * threads > cores:
        raise SettingsError(
            f"{wanted} actors of {threads} threads: the cluster has {cores} cores; give n_actors ="
            f" {max(cores // threads, 1)}, or fewer threads"
        )
    return min(wanted, votes.n_buckets)


def _check_memory(votes: ShardedVotes, ranges: Sequence[tuple[int, int]], n_states: int) -> None:
    """Raise VotesError where the cluster's memory cannot hold what the actors need."""
    needs = [need_of(votes, span, n_states) for span in ranges]
    there = int(ray.cluster_resources().get("memory", 0))
    if there and sum(needs) > there:
        raise VotesError(
            f"an actor needs up to {max(needs) / 2**30:.1f} GiB, all {len(needs)} together"
            f" {sum(needs) / 2**30:.1f} GiB, and the cluster has {there / 2**30:.1f} GiB: add"
            " machines, or fit on one with open_votes(..., memory=...), which takes turns"
        )


def _gathered(refs: Sequence[Any]) -> list[Any]:
    """The results; large counts are added in pairs on the cluster first."""
    first = _got(refs[0])
    if not (isinstance(first, Sums) and len(first.counts) >= TREE and len(refs) > 2):
        return [first, *(_got(ref) for ref in refs[1:])]
    pair = ray.remote(num_cpus=0)(_paired)
    level = list(refs)
    while len(level) > 1:
        level = [
            pair.remote(*level[k : k + 2]) if k + 1 < len(level) else level[k]
            for k in range(0, len(level), 2)
        ]
    return [_got(level[0])]


def _paired(a: Sums, b: Sums) -> Sums:
    added: Sums = joined(joined(None, a, own=True), b, own=True)
    return added


def _is_large(one: Any) -> bool:
    return isinstance(one, np.ndarray) and one.nbytes >= LARGE


def _got(ref: Any) -> Any:
    """What a reference stands for; an error of ours is raised as it was."""
    try:
        return ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, CrowdlearnError):
            raise error.cause from None
        raise


def _let_go(actors: Sequence[Any]) -> None:
    if ray.is_initialized():
        for actor in actors:
            ray.kill(actor)
