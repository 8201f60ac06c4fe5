"""A range of buckets and the arrays of their items: in memory, or on disk a chunk at a time."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from crowdlearn.reading.parts import ahead
from crowdlearn.shards.cut_passes import COUNTERS
from crowdlearn.shards.cuts import Counted
from crowdlearn.shards.operations import OPERATIONS, WITHOUT_VOTES, Chunk
from crowdlearn.shards.spread import Ref, Uniform
from crowdlearn.shards.votes import ShardedGold, ShardedVotes
from crowdlearn.sweeps import Sums
from crowdlearn.sweeps.cuts import Cut

BYTES_A_VOTE = 12  # worker, label and item offset, about
BYTES_A_GROUPED_VOTE = 12  # beside these, where tables are cut by workers, at most
VOTES_AT_ONCE = 3  # chunks in memory: in use, read ahead, and what it is read through


@dataclass(eq=False)
class Shard:
    """Buckets `start` to `stop` (not included). With `memory` (bytes) chunks take turns.

    With `one_block` a pass has one set of counts: see `CpuSweeper.on`.
    """

    votes: ShardedVotes
    start: int
    stop: int
    gold: ShardedGold
    state_class: np.ndarray
    n_threads: int = 1
    memory: int | None = None
    cut: Cut | None = None
    one_block: bool = False
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ranges = chunks_of(self)
        self.kept: Chunk | None = None
        self.scratch = Path(tempfile.mkdtemp(prefix="crowdlearn-")) if self.on_disk else None

    @property
    def on_disk(self) -> bool:
        """Whether chunks take turns."""
        return len(self.ranges) > 1

    def close(self) -> None:
        """Remove what is on disk."""
        if self.scratch is not None:
            shutil.rmtree(self.scratch, ignore_errors=True)

    def call(self, op: str, args: Sequence[Any], creates: Sequence[str] = ()) -> Any:
        """Do an operation on every chunk; what they give, added up."""
        merged: Any = None
        for chunk in self._chunks(op):
            given = [self._given(chunk, one) for one in args]
            result, *made = OPERATIONS[op](chunk, *given)
            for name, array in zip(creates, made, strict=True):
                self._put(chunk.start, name, array)
            for one, array in zip(args, given, strict=True):
                if isinstance(one, Ref) and one.changes and self.on_disk:
                    self._put(chunk.start, one.name, array)
            merged = joined(merged, result, own=self.on_disk)
        return merged

    def counted(self, counts: Counted, blocks: Sequence[int]) -> list[np.ndarray]:
        """The flat counts of these blocks of workers."""
        assert self.cut is not None
        found = [self.cut.zeros(block) for block in blocks]
        for chunk in self._chunks(counts.kind):
            given = [self._given(chunk, one) for one in counts.args]
            count = partial(_count, COUNTERS[counts.kind], chunk, given)
            _ = chunk.grouped  # made once, not by each thread
            chunk.pool.run(count, list(zip(blocks, found, strict=True)))
        for own in found:
            own *= counts.scale
        return found

    def forget(self, names: Sequence[str]) -> None:
        """Let arrays go."""
        for name in names:
            self.arrays.pop(name, None)
            if self.scratch is not None:
                for file in self.scratch.glob(f"{name}.*.npy"):
                    file.unlink()

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        """An array's entries of these buckets, which are within one chunk."""
        for first, last in self.ranges:
            if first <= start and stop <= last:
                array = self._array(first, name)
                low = self.votes.first_item(first)
                return array[self.votes.first_item(start) - low : self.votes.first_item(stop) - low]
        raise ValueError(f"buckets {start} to {stop} are in no chunk")

    def dump(self, folder: str, names: Sequence[str]) -> None:
        """Write arrays to a folder, a file a bucket, so that other shards can read them."""
        for name in names:
            for first, last in self.ranges:
                array = self._array(first, name)
                edges = self._edges(first, last, len(array))
                for bucket, low, high in zip(
                    range(first, last), edges[:-1], edges[1:], strict=True
                ):
                    np.save(Path(folder) / f"{name}.{bucket}.npy", array[low:high])

    def restore(self, folder: str, names: Sequence[str]) -> None:
        """Read back what `dump` wrote."""
        for name in names:
            for first, last in self.ranges:
                files = (Path(folder) / f"{name}.{k}.npy" for k in range(first, last))
                pieces = [np.load(file, mmap_mode="r") for file in files]
                self._put(first, name, np.concatenate(pieces))

    def _edges(self, first: int, last: int, length: int) -> np.ndarray:
        """Where each bucket's entries begin in an array of items, or of votes."""
        votes = self.votes
        is_of_items = length == votes.first_item(last) - votes.first_item(first)
        sizes = votes.bucket_items if is_of_items else votes.bucket_votes
        return np.append(0, sizes[first:last].cumsum())

    def _chunks(self, op: str) -> Iterator[Chunk]:
        if not self.on_disk:
            if self.kept is None:
                self.kept = self._chunk(*self.ranges[0])
            yield self.kept
        elif op in WITHOUT_VOTES:
            yield from (self._chunk(*pair) for pair in self.ranges)
        else:
            yield from ahead(self._read(*pair) for pair in self.ranges)

    def _chunk(self, start: int, stop: int) -> Chunk:
        return Chunk(
            self.votes, start, stop, self.gold, self.state_class, self.n_threads, self.cut,
            self.one_block,
        )  # fmt: skip

    def _read(self, start: int, stop: int) -> Chunk:
        chunk = self._chunk(start, stop)
        _ = chunk.votes
        return chunk

    def _given(self, chunk: Chunk, one: Any) -> Any:
        if isinstance(one, Ref):
            return self._array(chunk.start, one.name)
        return chunk.uniform(one.entropy, one.of) if isinstance(one, Uniform) else one

    def _put(self, first: int, name: str, array: np.ndarray) -> None:
        if self.scratch is None:
            self.arrays[name] = array
        else:
            np.save(self.scratch / f"{name}.{first}.npy", array)

    def _array(self, first: int, name: str) -> np.ndarray:
        if self.scratch is None:
            return self.arrays[name]
        found: np.ndarray = np.load(self.scratch / f"{name}.{first}.npy")
        return found


def chunks_of(shard: Shard) -> list[tuple[int, int]]:
    """Ranges of buckets that fit into the memory, with what a pass needs beside them."""
    if shard.memory is None:
        return [(shard.start, shard.stop)]
    votes = shard.votes
    n_states, cut = len(shard.state_class), shard.cut
    each = votes.bucket_votes * BYTES_A_VOTE * VOTES_AT_ONCE
    each += votes.bucket_items * 8 * (n_states * 3 + 4)
    tables = 2 * 8 * votes.n_workers * votes.n_classes * n_states
    if cut is not None:
        each += votes.bucket_votes * BYTES_A_GROUPED_VOTE + votes.bucket_items * 4 * n_states
        tables = (blocks_at_once(shard.memory, cut) + 3) * cut.block_bytes
    room = shard.memory - tables - RUNTIME
    ranges, first, used = [], shard.start, 0
    for bucket in range(shard.start, shard.stop):
        need = int(each[bucket])
        if bucket > first and used + need > room:
            ranges.append((first, bucket))
            first, used = bucket, 0
        used += need
    return [*ranges, (first, shard.stop)]


def _count(counter: Any, chunk: Chunk, given: Sequence[Any], block: int, own: np.ndarray) -> None:
    counter(chunk, block, own, *given)


def blocks_at_once(memory: int | None, cut: Cut) -> int:
    """Blocks of workers that are counted in one walk over the chunks: a quarter of the memory."""
    return 1 if memory is None else max(memory // 4 // cut.block_bytes, 1)


RUNTIME = 400 << 20  # Python, NumPy, Arrow and numba themselves


def joined(before: Any, new: Any, own: bool) -> Any:
    """Results of two chunks, or shards, as one; `own` where `new` is overwritten later."""
    if new is None:
        return None
    if isinstance(new, Sums):
        if before is None:
            return Sums(
                new.counts.copy() if own else new.counts, new.totals, new.bound, new.change,
                new.guessed,
            )  # fmt: skip
        before.counts.__iadd__(new.counts)
        return Sums(
            before.counts, before.totals + new.totals, before.bound + new.bound,
            float(np.maximum(before.change, new.change)), before.guessed + new.guessed,
        )  # fmt: skip
    return new if before is None else before + new
