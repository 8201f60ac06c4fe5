"""Files of votes to a folder of buckets, in two passes, with little in memory at any time.

Survey    every file is read for the names of its workers and classes, and how many rows it has.
Scatter   every file is read again. A vote's bucket is a range of the hash of its item's name, so
          all votes of an item meet, whatever file they stand in; codes are written by bucket.
Gather    every bucket is read, sorted by item, and written as the columns of `Votes`.

Items come in the order of their hashes and workers in the order of their names, so codes do not
depend on how the votes are cut into files, nor on the number of buckets. Each step is a function of
one file or one bucket: `each` may do them on other processes or machines that see the same disk.
"""

from __future__ import annotations

import json
import math
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int, Int64, UInt64

from crowdlearn.errors import SettingsError, VotesError, VotesWarning
from crowdlearn.io import checked_classes
from crowdlearn.output import new_folder
from crowdlearn.reading.coding import codes_of
from crowdlearn.reading.collect import checked_batches, ordered_classes
from crowdlearn.reading.columns import VOTE_COLUMNS, check_columns, find_columns
from crowdlearn.reading.sources import parts_of, paths_of
from crowdlearn.shards.hashing import buckets, hashes
from crowdlearn.shards.votes import FORMAT, ShardedVotes, open_votes

VOTES_A_BUCKET = 1 << 22  # gathered at once: some 250 MB
FEWEST_BUCKETS, MOST_BUCKETS = 16, 4096
SALTS = 3  # hashes to try before two names that share one are an error

Each = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], Iterable[Any]]
"""(function, arguments of each call) -> its results in that order."""
Progress = Callable[[str, int, int], None]
"""Told (pass, done, of): files, files, buckets."""


def in_turn(function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> Iterable[Any]:
    """`Each` in this process."""
    return (function(*call) for call in calls)


def code_votes(
    source: Any,
    folder: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    classes: Sequence[Any] | None = None,
    drop_missing: bool = False,
    n_buckets: int | None = None,
    each: Each = in_turn,
    progress: Progress | None = None,
) -> ShardedVotes:
    """Code the votes of a path, a glob or a list of these into a new folder; whole or not at all.

    Columns, classes and missing values as in `read_votes`; a part with other columns, or items of
    another type, is refused by name. `n_buckets` is the unit in which votes are spread and fitted;
    left out, buckets hold about four million votes. `each` does the calls of a pass.

    Raises VotesError naming file, row and column, OutputError where the folder cannot be written.
    """
    roles, known = check_columns(columns), checked_classes(classes)
    paths = [str(path) for path in paths_of(source)]
    tell = progress or (lambda *_: None)
    job = _Job(roles, known, drop_missing)
    found = list(_told(each(survey, [(path, job) for path in paths]), "survey", len(paths), tell))
    vocabulary = _united(found, known)
    n_votes = sum(one.n_rows for one in found)
    n = _n_buckets(n_votes, n_buckets)
    with new_folder(folder) as whole:
        for salt in range(SALTS):
            try:
                sizes = _coded(whole, paths, job, vocabulary, n, salt, each, tell)
                break
            except SharedHash:
                shutil.rmtree(whole / "scatter", ignore_errors=True)
        else:
            raise VotesError(f"{paths[0]}: names of items share a hash, whatever the salt")
        _write_manifest(whole, vocabulary, sizes, found, salt)
    return open_votes(folder)


class SharedHash(Exception):
    """Two items have one hash: hash anew with another salt."""


@dataclass(frozen=True)
class _Job:
    columns: Mapping[str, str]
    classes: Sequence[str] | None
    drop_missing: bool


@dataclass(frozen=True, eq=False)
class Survey:
    """What a file has: names, rows, the type of its items, and rows left out by what they miss."""

    path: str
    workers: pa.Array
    labels: pa.Array
    n_rows: int
    item_type: str
    dropped: Counter[str]


@dataclass(frozen=True, eq=False)
class _Vocabulary:
    workers: pa.Array  # sorted
    classes: list[str]


def survey(path: str, job: _Job) -> Survey:
    """The first pass over one file."""
    workers, labels = _Distinct(), _Distinct()
    dropped: Counter[str] = Counter()
    n_rows, item_type = 0, ""
    with closing(_part(path, job)) as parts:
        for part in parts:
            named = find_columns(part.columns, VOTE_COLUMNS, job.columns, part.name)
            gone = dropped if job.drop_missing else None
            for encoded, rows in checked_batches(part, named, job.classes, gone):
                workers.add(encoded["worker"].dictionary)
                labels.add(encoded["label"].dictionary)
                n_rows += len(rows)
                item_type = str(encoded["item"].dictionary.type)
    if n_rows == 0 and not dropped:
        raise VotesError(f"{path}: holds no votes, only a header or less")
    return Survey(path, workers.names(), labels.names(), n_rows, item_type, dropped)


def scatter(
    path: str, job: _Job, vocabulary: _Vocabulary, n_buckets: int, salt: int, into: str
) -> None:
    """The second pass over one file: its votes as codes, sorted by bucket within each batch."""
    folder = Path(into)
    folder.mkdir(parents=True)
    columns = {name: open(folder / f"{name}.raw", "wb") for name in ("hash", "worker", "label")}
    votes_at, names_at, names_written = [], [], 0
    sink = pa.OSFile(str(folder / "names.arrow"), "wb")
    schema = pa.schema([("hash", pa.uint64()), ("name", pa.large_string())])
    writer = pa.ipc.new_file(sink, schema)
    try:
        dropped: Counter[str] | None = Counter() if job.drop_missing else None
        with closing(_part(path, job)) as parts:
            for part in parts:
                named = find_columns(part.columns, VOTE_COLUMNS, job.columns, part.name)
                for encoded, _ in checked_batches(part, named, job.classes, dropped):
                    codes = _recoded(path, encoded, vocabulary)
                    item = encoded["item"]
                    own = hashes(item.dictionary, salt)
                    place = buckets(own, n_buckets)
                    at = codes_of(item)
                    order = np.argsort(place[at], kind="stable")
                    for name, values in {"hash": own[at], **codes}.items():
                        columns[name].write(np.ascontiguousarray(values[order]).data)
                    votes_at.append(_edges(place[at], n_buckets))
                    by_bucket = np.argsort(place, kind="stable")
                    writer.write_batch(
                        pa.record_batch(
                            [
                                pa.array(own[by_bucket]),
                                item.dictionary.cast(pa.large_string()).take(pa.array(by_bucket)),
                            ],
                            schema=schema,
                        )
                    )
                    names_at.append(_edges(place, n_buckets))
                    names_written += 1
    finally:
        writer.close()
        sink.close()
        for file in columns.values():
            file.close()
    np.savez(
        folder / "index.npz",
        votes=np.array(votes_at, dtype=np.int64).reshape(-1, n_buckets + 1),
        names=np.array(names_at, dtype=np.int64).reshape(-1, n_buckets + 1),
    )


def gather(bucket: int, folders: Sequence[str], n_workers: int, into: str) -> dict[str, Any]:
    """One bucket: its votes sorted by item, as the columns of `Votes`; how many of what it has.

    Raises SharedHash where two names of items have one hash.
    """
    hashed, worker, label, names = _bucket(bucket, folders)
    order = np.argsort(hashed, kind="stable")
    hashed, worker, label = hashed[order], worker[order], label[order]
    starts = np.flatnonzero(np.append(True, hashed[1:] != hashed[:-1]))[: len(hashed)]
    items = _items(names, hashed[starts])
    folder = Path(into)
    folder.mkdir(parents=True)
    np.save(folder / "offsets.npy", np.append(starts, len(hashed)).astype(np.int64))
    np.save(folder / "worker.npy", worker)
    np.save(folder / "label.npy", label.astype(np.int32))
    with pa.OSFile(str(folder / "items.arrow"), "wb") as sink:
        table = pa.table({"item": items})
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    return {
        "n_items": len(items), "n_votes": len(worker),
        "workers": np.bincount(worker, minlength=n_workers),
        "labels": np.bincount(label, minlength=1),
    }  # fmt: skip


def _coded(
    whole: Path, paths: Sequence[str], job: _Job, vocabulary: _Vocabulary, n: int, salt: int,
    each: Each, tell: Progress,
) -> list[dict[str, Any]]:  # fmt: skip
    """Scatter and gather; the sizes of the buckets."""
    scattered = [str(whole / "scatter" / f"{k:06d}") for k in range(len(paths))]
    calls = [
        (path, job, vocabulary, n, salt, into) for path, into in zip(paths, scattered, strict=True)
    ]
    for _ in _told(each(scatter, calls), "scatter", len(paths), tell):
        pass
    n_workers = len(vocabulary.workers)
    gathered = [(k, scattered, n_workers, str(whole / "buckets" / f"{k:06d}")) for k in range(n)]
    sizes: list[dict[str, Any]] = []
    per_worker = np.zeros(n_workers, dtype=np.int64)
    per_class = np.zeros(len(vocabulary.classes), dtype=np.int64)
    for size in _told(each(gather, gathered), "gather", n, tell):
        per_worker += size.pop("workers")
        labels = size.pop("labels")
        per_class[: len(labels)] += labels
        sizes.append(size)
    shutil.rmtree(whole / "scatter")
    np.save(whole / "votes_per_worker.npy", per_worker)
    np.save(whole / "votes_per_class.npy", per_class)
    return sizes


def _write_manifest(
    whole: Path, vocabulary: _Vocabulary, sizes: Sequence[dict[str, Any]],
    found: Sequence[Survey], salt: int,
) -> None:  # fmt: skip
    with pa.OSFile(str(whole / "workers.arrow"), "wb") as sink:
        table = pa.table({"worker": vocabulary.workers})
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    said = {
        "format": FORMAT, "kind": "coded votes", "classes": vocabulary.classes, "salt": salt,
        "sources": [{"path": one.path, "n_rows": one.n_rows} for one in found],
        "buckets": list(sizes),
    }  # fmt: skip
    (whole / "summary.json").write_text(json.dumps(said, indent=1) + "\n")


class _Distinct:
    """Distinct names, merged when as many wait as are known."""

    def __init__(self) -> None:
        self._known: list[pa.Array] = []
        self._n_waiting, self._n_known = 0, 0

    def add(self, names: pa.Array) -> None:
        self._known.append(names.cast(pa.large_string()))
        self._n_waiting += len(names)
        if self._n_waiting > max(1 << 18, 2 * self._n_known):
            self._merge()

    def names(self) -> pa.Array:
        self._merge()
        return self._known[0] if self._known else pa.array([], pa.large_string())

    def _merge(self) -> None:
        if self._known:
            merged = pc.unique(pa.chunked_array(self._known))
            self._known, self._n_waiting, self._n_known = [merged], 0, len(merged)


def _united(found: Sequence[Survey], known: Sequence[str] | None) -> _Vocabulary:
    """The names of all files. Raises VotesError where item types differ, or one class is left."""
    for one in found[1:]:
        if one.item_type != found[0].item_type:
            raise VotesError(
                f"{one.path}: its items are {one.item_type}, and {found[0].item_type} in"
                f" {found[0].path}: write both with one type"
            )
    dropped: Counter[str] = sum((one.dropped for one in found), Counter())
    n_rows = sum(one.n_rows for one in found)
    if n_rows == 0:
        raise VotesError(f"{found[0].path}: no vote is left of {dropped['rows']:,} rows")
    if dropped["rows"]:
        warnings.warn(
            f"{dropped['rows']:,} of {n_rows + dropped['rows']:,} rows left out: they miss a value",
            VotesWarning, stacklevel=3,
        )  # fmt: skip
    workers, labels = _Distinct(), _Distinct()
    for one in found:
        workers.add(one.workers)
        labels.add(one.labels)
    classes = list(known or ordered_classes(labels.names()))
    if len(classes) < 2:
        raise VotesError(
            f"{found[0].path}: all votes say {classes[0]!r}: a single class leaves nothing to"
            " infer; name all classes with classes=[...] if the others were merely never chosen"
        )
    names = workers.names()
    return _Vocabulary(names.take(pc.sort_indices(names)), classes)


def _recoded(
    path: str, encoded: Mapping[str, pa.DictionaryArray], vocabulary: _Vocabulary
) -> dict[str, Int[np.ndarray, " vote"]]:
    """Worker and label codes of a batch. Raises VotesError where a name is new."""
    known = {
        "worker": vocabulary.workers, "label": pa.array(vocabulary.classes, pa.large_string())
    }  # fmt: skip
    small = np.int16 if len(vocabulary.classes) < 1 << 15 else np.int32
    codes = {}
    for role, names in known.items():
        own = encoded[role].dictionary.cast(pa.large_string())
        where = pc.index_in(own, names)
        if where.null_count:
            new = own.filter(pc.is_null(where))[0].as_py()
            raise VotesError(
                f"{path}: {role} {new!r} was not there in the first pass: the file is being"
                " written; code it when it is whole"
            )
        kind = np.int32 if role == "worker" else small
        codes[role] = where.to_numpy().astype(kind)[codes_of(encoded[role])]
    return codes


def _bucket(
    bucket: int, folders: Sequence[str]
) -> tuple[UInt64[np.ndarray, " vote"], Any, Any, pa.Table]:
    """All that the files have for a bucket, in their order."""
    pieces: dict[str, list[np.ndarray]] = {"hash": [], "worker": [], "label": []}
    names: list[pa.RecordBatch] = []
    for folder in map(Path, folders):
        index = np.load(folder / "index.npz")
        n = int(index["votes"][:, -1].sum())
        wide = (folder / "label.raw").stat().st_size == 4 * n
        kinds = {"hash": np.uint64, "worker": np.int32, "label": np.int32 if wide else np.int16}
        if n:
            raw = {
                name: np.memmap(folder / f"{name}.raw", kind, "r") for name, kind in kinds.items()
            }
            before = 0
            for edges in index["votes"]:
                low, high = before + edges[bucket], before + edges[bucket + 1]
                for name, values in raw.items():
                    pieces[name].append(np.array(values[low:high]))
                before += int(edges[-1])
        with pa.memory_map(str(folder / "names.arrow")) as source:
            reader = pa.ipc.open_file(source)
            for at, edges in enumerate(index["names"]):
                low, high = int(edges[bucket]), int(edges[bucket + 1])
                names.append(_copied(reader.get_batch(at).slice(low, high - low)))
    schema = pa.schema([("hash", pa.uint64()), ("name", pa.large_string())])
    joined = {name: np.concatenate(own) if own else np.empty(0) for name, own in pieces.items()}
    return (
        joined["hash"].astype(np.uint64, copy=False), joined["worker"].astype(np.int32, copy=False),
        joined["label"].astype(np.int32, copy=False), pa.Table.from_batches(names, schema),
    )  # fmt: skip


def _copied(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows in memory of their own, so that the file may be closed."""
    return batch.take(pa.array(np.arange(len(batch), dtype=np.int64)))


def _items(names: pa.Table, wanted: UInt64[np.ndarray, " item"]) -> pa.Array:
    """The name of each hash, which are sorted. Raises SharedHash where one has two."""
    pairs = names.group_by(["hash", "name"]).aggregate([])
    order = pc.sort_indices(pairs["hash"].combine_chunks())
    found = pairs["hash"].take(order).to_numpy()
    if len(found) != len(wanted) or (len(found) > 1 and (found[1:] == found[:-1]).any()):
        raise SharedHash
    return pairs["name"].take(order).combine_chunks()


def _edges(place: Int[np.ndarray, " row"], n_buckets: int) -> Int64[np.ndarray, " edge"]:
    return np.append(0, np.bincount(place, minlength=n_buckets).cumsum())


def _n_buckets(n_votes: int, wanted: int | None) -> int:
    if wanted is None:
        needed = math.ceil(n_votes / VOTES_A_BUCKET)
        return min(max(needed, FEWEST_BUCKETS), MOST_BUCKETS)
    if not 1 <= wanted <= MOST_BUCKETS:
        raise SettingsError(f"n_buckets = {wanted}: give 1 to {MOST_BUCKETS}")
    return wanted


def _part(path: str, job: _Job) -> Any:
    return parts_of(path, job.columns, None)


def _told(results: Iterable[Any], name: str, n: int, tell: Progress) -> Iterable[Any]:
    tell(name, 0, n)
    for done, result in enumerate(results, 1):
        yield result
        tell(name, done, n)
