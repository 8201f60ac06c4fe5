"""The second pass over files of votes: codes in place of names, sorted by bucket.

Each file becomes a folder: hash.raw, worker.raw and label.raw have an entry a vote, names.arrow the
names behind the hashes, index.npz where each bucket begins within each batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int, Int64

from crowdlearn.errors import VotesError
from crowdlearn.reading.coding import codes_of
from crowdlearn.shards.each import once
from crowdlearn.shards.hashing import buckets, hashes
from crowdlearn.shards.survey import Job, Vocabulary

NAMES = pa.schema([("hash", pa.uint64()), ("name", pa.large_string())])


def scatter(
    path: str, n_rows: int, job: Job, vocabulary: Vocabulary, n_buckets: int, salt: int, into: str
) -> int:
    """The votes of one file as codes, sorted by bucket within each batch; how many there are.

    Raises VotesError where the file is not what the first pass saw: `n_rows` and the vocabulary.
    """
    seen = 0
    with once(into) as folder, _Scattered(folder, n_buckets) as out:
        for encoded, rows in job.batches(path, Counter()):
            codes = _recoded(path, encoded, vocabulary)
            out.write(codes, encoded["item"], salt)
            seen += len(rows)
        if seen != n_rows:
            raise VotesError(
                f"{path}: has {seen:,} votes, and had {n_rows:,} in the first pass: the file is"
                " being written; code it when it is whole"
            )
    return seen


class _Scattered:
    """The folder that a file becomes, open for writing."""

    def __init__(self, folder: Path, n_buckets: int) -> None:
        self.folder, self.n_buckets = folder, n_buckets
        self.votes_at: list[Int64[np.ndarray, " edge"]] = []
        self.names_at: list[Int64[np.ndarray, " edge"]] = []
        self.open = ExitStack()

    def __enter__(self) -> _Scattered:
        self.columns: dict[str, BinaryIO] = {
            name: self.open.enter_context(open(self.folder / f"{name}.raw", "wb"))
            for name in ("hash", "worker", "label")
        }
        sink = self.open.enter_context(pa.OSFile(str(self.folder / "names.arrow"), "wb"))
        self.names = self.open.enter_context(pa.ipc.new_file(sink, NAMES))
        return self

    def __exit__(self, *_: object) -> None:
        self.open.close()
        for_each = {"votes": self.votes_at, "names": self.names_at}
        shaped = {
            name: np.array(edges, dtype=np.int64).reshape(-1, self.n_buckets + 1)
            for name, edges in for_each.items()
        }
        np.savez(self.folder / "index.npz", **shaped)  # type: ignore[arg-type]

    def write(
        self, codes: Mapping[str, Int[np.ndarray, " vote"]], item: pa.DictionaryArray, salt: int
    ) -> None:
        """One batch: its votes, and the names of its items, by bucket."""
        own = hashes(item.dictionary, salt)
        place, at = buckets(own, self.n_buckets), codes_of(item)
        order = np.argsort(place[at], kind="stable")
        for name, values in {"hash": own[at], **codes}.items():
            self.columns[name].write(np.ascontiguousarray(values[order]).data)
        self.votes_at.append(_edges(place[at], self.n_buckets))
        by_bucket = np.argsort(place, kind="stable")
        names = item.dictionary.cast(pa.large_string()).take(pa.array(by_bucket))
        self.names.write_batch(pa.record_batch([pa.array(own[by_bucket]), names], schema=NAMES))
        self.names_at.append(_edges(place, self.n_buckets))


def _recoded(
    path: str, encoded: Mapping[str, pa.DictionaryArray], vocabulary: Vocabulary
) -> dict[str, Int[np.ndarray, " vote"]]:
    """Worker and label codes of a batch. Raises VotesError where a name is new."""
    known = {
        "worker": vocabulary.workers, "label": pa.array(vocabulary.classes, pa.large_string())
    }  # fmt: skip
    small = np.int16 if len(vocabulary.classes) < 1 << 15 else np.int32
    codes: dict[str, Any] = {}
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


def _edges(place: Int[np.ndarray, " row"], n_buckets: int) -> Int64[np.ndarray, " edge"]:
    return np.append(0, np.bincount(place, minlength=n_buckets).cumsum())
