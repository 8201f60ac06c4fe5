"""What all files have for a bucket, sorted by item, as the columns of `Votes`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import UInt64

from crowdlearn.errors import VotesError
from crowdlearn.shards.each import once
from crowdlearn.shards.scatter import NAMES


class SharedHash(VotesError):
    """Two items have one hash: hash anew with another salt."""


def gather(bucket: int, folders: Sequence[str], n_workers: int, into: str) -> dict[str, Any]:
    """One bucket, from what `scatter` made of each file; how many of what it has.

    Raises SharedHash where two names of items have one hash.
    """
    hashed, worker, label = _sorted_votes(bucket, folders)
    starts = np.flatnonzero(np.append(True, hashed[1:] != hashed[:-1]))[: len(hashed)]
    items = _items(_names(bucket, folders), hashed[starts])
    with once(into) as folder:
        np.save(folder / "offsets.npy", np.append(starts, len(hashed)).astype(np.int64))
        np.save(folder / "worker.npy", worker)
        np.save(folder / "label.npy", label)
        with pa.OSFile(str(folder / "items.arrow"), "wb") as sink:
            table = pa.table({"item": items})
            with pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)
    return {
        "n_items": len(items), "n_votes": len(worker),
        "workers": np.bincount(worker, minlength=n_workers),
        "labels": np.bincount(label, minlength=1),
    }  # fmt: skip


def _sorted_votes(
    bucket: int, folders: Sequence[str]
) -> tuple[UInt64[np.ndarray, " vote"], Any, Any]:
    """Hash, worker and label of a bucket's votes, by hash; within one in the order of the files."""
    pieces: dict[str, list[np.ndarray]] = {"hash": [], "worker": [], "label": []}
    for folder in map(Path, folders):
        _add_votes(folder, np.load(folder / "index.npz")["votes"], bucket, pieces)
    kinds = {"hash": np.uint64, "worker": np.int32, "label": np.int32}
    columns = {}
    order: Any = None
    for name, kind in kinds.items():
        own = pieces.pop(name)
        whole = np.concatenate(own, dtype=kind) if own else np.empty(0, kind)
        order = np.argsort(whole, kind="stable") if order is None else order
        columns[name] = whole[order]
    return columns["hash"], columns["worker"], columns["label"]


def _names(bucket: int, folders: Sequence[str]) -> pa.Table:
    """Hashes and names of a bucket's items, once for each batch of a file that has them."""
    found: list[pa.RecordBatch] = []
    for folder in map(Path, folders):
        edges_of_batches = np.load(folder / "index.npz")["names"]
        with pa.memory_map(str(folder / "names.arrow")) as source:
            reader = pa.ipc.open_file(source)
            for at, edges in enumerate(edges_of_batches):
                low, high = int(edges[bucket]), int(edges[bucket + 1])
                found.append(_copied(reader.get_batch(at).slice(low, high - low)))
    return pa.Table.from_batches(found, NAMES)


def _add_votes(
    folder: Path, edges_of_batches: np.ndarray, bucket: int, pieces: dict[str, list[np.ndarray]]
) -> None:
    n = int(edges_of_batches[:, -1].sum())
    if n == 0:
        return
    wide = (folder / "label.raw").stat().st_size == 4 * n
    kinds = {"hash": np.uint64, "worker": np.int32, "label": np.int32 if wide else np.int16}
    raw = {name: np.memmap(folder / f"{name}.raw", kind, "r") for name, kind in kinds.items()}
    before = 0
    for edges in edges_of_batches:
        low, high = before + edges[bucket], before + edges[bucket + 1]
        for name, values in raw.items():
            pieces[name].append(np.array(values[low:high]))
        before += int(edges[-1])


def _copied(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows in memory of their own, so that the file may be closed."""
    return batch.take(pa.array(np.arange(len(batch), dtype=np.int64)))


def _items(names: pa.Table, wanted: UInt64[np.ndarray, " item"]) -> pa.Array:
    """The name of each hash, which are sorted. Raises SharedHash where one has two."""
    hashed = names["hash"].to_numpy()
    order = np.argsort(hashed, kind="stable")
    hashed, text = hashed[order], names["name"].combine_chunks().take(pa.array(order))
    is_first = np.append(True, hashed[1:] != hashed[:-1])[: len(hashed)]
    differs = pc.not_equal(text.slice(1), text.slice(0, max(len(text) - 1, 0)))
    if (differs.to_numpy(zero_copy_only=False) & ~is_first[1:]).any():
        raise SharedHash("two items have one hash")
    assert np.array_equal(hashed[is_first], wanted)
    return text.filter(pa.array(is_first))
