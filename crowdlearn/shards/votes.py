"""What `code_votes` wrote: counts and names at hand, votes a range of buckets at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int32, Int64

from crowdlearn.errors import SettingsError, VotesError
from crowdlearn.shards.hashing import buckets, hashes
from crowdlearn.sweeps.cuts import Cut
from crowdlearn.votes import Votes, VoteSet

FORMAT = 1
METHODS = (
    "dawid-skene", "one-coin", "bcc", "bcc-gibbs", "ebcc", "idbla", "idbla-factorised",
    "idbla-gibbs", "fixed-idbla", "fixed-idbla-factorised", "fixed-idbla-gibbs",
)  # fmt: skip
"""Aggregators that take coded votes."""
UNCUT_METHODS = ("bcc-gibbs", "idbla-gibbs", "fixed-idbla-gibbs")
"""Those of them whose tables every process must hold whole."""

AT_HAND = {
    "items", "item", "worker", "label", "item_offsets", "votes_per_item", "by_worker", "counts",
    "shares", "votes_of", "item_code", "to_table", "only_workers", "only_items", "opinion",
}  # fmt: skip
"""What `Votes` have, and these have not."""


@dataclass(frozen=True, eq=False)
class ShardedVotes(VoteSet):
    """A folder of coded votes. Open one with `open_votes`; fit it as `Votes`.

    An item's code is its place among all buckets in turn; a worker's its place among the sorted
    names. Nothing here grows with the votes.
    """

    folder: str
    classes: tuple[str, ...]
    bucket_items: Int64[np.ndarray, " bucket"]
    bucket_votes: Int64[np.ndarray, " bucket"]
    votes_per_worker: Int64[np.ndarray, " worker"]
    votes_per_class: Int64[np.ndarray, " class"]
    salt: int = 0
    memory: int | None = None  # bytes that a fit on this machine may take
    n_actors: int | None = None  # of a fit on a cluster; None: one for each core
    checkpoint: str | None = None  # folder that a fit goes on from
    worker_blocks: int | None = None  # ranges of workers that tables are cut into

    @property
    def n_buckets(self) -> int:
        return len(self.bucket_items)

    @property
    def n_items(self) -> int:
        return int(self.bucket_items.sum())

    @property
    def n_votes(self) -> int:
        return int(self.bucket_votes.sum())

    @property
    def n_workers(self) -> int:
        return len(self.votes_per_worker)

    @property
    def n_classes(self) -> int:
        return len(self.classes)

    def cut(self, n_states: int) -> Cut | None:
        """How tables of this many states are cut by workers; None where they are not."""
        return Cut.of(self.n_workers, self.n_classes, n_states, self.worker_blocks)

    @cached_property
    def workers(self) -> pa.Array:
        """Names, by code."""
        return _names(Path(self.folder) / "workers.arrow", "worker")

    def __getattr__(self, name: str) -> Any:
        if name in AT_HAND:
            raise SettingsError(
                "this method needs all votes in memory, and these are coded: read them with"
                f" read_votes, or choose one of {', '.join(METHODS)}"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __len__(self) -> int:
        return self.n_votes

    def __repr__(self) -> str:
        return (
            f"ShardedVotes({self.n_votes:,} votes, {self.n_items:,} items, {self.n_workers:,}"
            f" workers, {self.n_classes} classes, {self.n_buckets} buckets)"
        )

    def first_item(self, bucket: int) -> int:
        """Code of the first item of a bucket; of the last bucket and one more, `n_items`."""
        return int(self.bucket_items[:bucket].sum())

    def first_vote(self, bucket: int) -> int:
        """Votes in the buckets before this one."""
        return int(self.bucket_votes[:bucket].sum())

    def item_names(self, start: int, stop: int) -> pa.Array:
        """Names of the items of these buckets."""
        return pa.chunked_array(
            [_names(_bucket(self.folder, k) / "items.arrow", "item") for k in range(start, stop)],
            pa.large_string(),
        ).combine_chunks()

    def load(self, start: int, stop: int) -> Votes:
        """The votes of the buckets `start` to `stop` (not included), in memory, with no item names.

        Items count from 0 there; workers and classes are those of all. Raises VotesError where a
        bucket is gone or was changed.
        """
        span = slice(start, stop)
        n_items, n_votes = int(self.bucket_items[span].sum()), int(self.bucket_votes[span].sum())
        offsets = np.zeros(n_items + 1, dtype=np.int64)
        worker, label = (np.empty(n_votes, dtype=np.int32) for _ in range(2))
        item, vote = 0, 0
        for bucket in range(start, stop):  # one at a time: no column is in memory twice
            own, workers, labels = self._columns(bucket)
            offsets[item : item + len(own)] = own + vote
            end = vote + len(workers)
            worker[vote:end], label[vote:end] = workers, labels
            item, vote = item + len(own) - 1, end
        return Votes(
            items=pa.nulls(n_items), workers=self.workers, classes=self.classes,
            item_offsets=offsets, worker=worker, label=label,
        )  # fmt: skip

    def gold_codes(self, gold: Mapping[Any, Any] | None) -> ShardedGold:
        """Gold answers (item name -> class name) by bucket.

        Raises VotesError for an unknown item or class.
        """
        if gold is None:
            return ShardedGold({})
        names, said = [str(n) for n in gold], [str(k) for k in gold.values()]
        label = pc.index_in(pa.array(said), pa.array(self.classes)).fill_null(-1).to_numpy()
        _refuse(label < 0, said, f"is not one of {', '.join(self.classes[:20])}")
        wanted = pa.array(names, pa.large_string())
        place = buckets(hashes(wanted, self.salt), self.n_buckets)
        found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for bucket in np.unique(place).tolist():
            mine = np.flatnonzero(place == bucket)
            known = self.item_names(bucket, bucket + 1)
            item = pc.index_in(wanted.take(pa.array(mine)), known).fill_null(-1).to_numpy()
            _refuse(item < 0, [names[k] for k in mine], f"is not among the {self.n_items:,} items")
            found[bucket] = item.astype(np.int64), label[mine].astype(np.int32)
        return ShardedGold(found)

    def _columns(self, bucket: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        folder = _bucket(self.folder, bucket)
        try:
            offsets, worker, label = (
                np.load(folder / f"{name}.npy") for name in ("offsets", "worker", "label")
            )
        except (OSError, ValueError) as error:
            raise VotesError(f"{folder}: bucket {bucket} cannot be read: {error}") from error
        found = len(offsets) - 1, len(worker)
        wanted = int(self.bucket_items[bucket]), int(self.bucket_votes[bucket])
        if found != wanted or len(label) != len(worker) or int(offsets[-1]) != len(worker):
            raise VotesError(
                f"{folder}: bucket {bucket} has {found[0]:,} items and {found[1]:,} votes, not"
                f" {wanted[0]:,} and {wanted[1]:,}: it was changed after it was coded"
            )
        return offsets, worker, label


@dataclass(frozen=True, eq=False)
class ShardedGold:
    """For each bucket with gold answers: the items (counted from 0 there) and their classes."""

    by_bucket: dict[int, tuple[Int64[np.ndarray, " gold"], Int32[np.ndarray, " gold"]]]

    def codes(self, votes: ShardedVotes, start: int, stop: int) -> Int32[np.ndarray, " item"]:
        """Class code of each item of these buckets, -1 where it is not gold."""
        before = votes.first_item(start)
        codes = np.full(votes.first_item(stop) - before, -1, dtype=np.int32)
        for bucket, (item, label) in self.by_bucket.items():
            if start <= bucket < stop:
                codes[votes.first_item(bucket) - before + item] = label
        return codes

    def __len__(self) -> int:
        return sum(len(item) for item, _ in self.by_bucket.values())


def open_votes(
    folder: str | Path,
    *,
    memory: int | None = None,
    n_actors: int | None = None,
    checkpoint: str | Path | None = None,
    worker_blocks: int | None = None,
) -> ShardedVotes:
    """The coded votes in a folder, and how they are to be fitted.

    memory         bytes that a fit on this machine may take; None: all votes at once
    n_actors       on a cluster; None: one for each of its cores
    checkpoint     folder in which a fit notes how far it is, and from which the same fit goes on
    worker_blocks  ranges of workers that tables are cut into, 1 for none; None: none up to 256 MiB
                   of counts (workers x classes x states x 8 bytes), above that of 8 MiB each

    Raises VotesError where the folder holds no coded votes.
    """
    path = Path(folder).expanduser().resolve()
    try:
        said = json.loads((path / "summary.json").read_text())
        if said.get("kind") != "coded votes" or said["format"] > FORMAT:
            raise VotesError(f"{path}: holds no coded votes that this version reads")
        sizes = said["buckets"]
        return ShardedVotes(
            folder=str(path), classes=tuple(said["classes"]),
            bucket_items=np.array([one["n_items"] for one in sizes], dtype=np.int64),
            bucket_votes=np.array([one["n_votes"] for one in sizes], dtype=np.int64),
            votes_per_worker=np.load(path / "votes_per_worker.npy"),
            votes_per_class=np.load(path / "votes_per_class.npy"), salt=said["salt"],
            memory=memory, n_actors=n_actors, worker_blocks=worker_blocks,
            checkpoint=None if checkpoint is None else str(Path(checkpoint).expanduser().resolve()),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, VotesError):
            raise
        raise VotesError(
            f"{path}: holds no coded votes: {error}; make them with `code_votes`"
        ) from error


def _refuse(unknown: Any, names: list[str], why: str) -> None:
    if unknown.any():
        raise VotesError(f"gold: {names[int(np.flatnonzero(unknown)[0])]!r} {why}")


def _bucket(folder: str, bucket: int) -> Path:
    return Path(folder) / "buckets" / f"{bucket:06d}"


def _names(path: Path, column: str) -> pa.Array:
    try:
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise VotesError(f"{path}: cannot be read: {error}") from error
    return table[column].combine_chunks()
