"""Coded votes of any size, made straight into the folder that `code_votes` would write.

Five votes an item, workers in turn from a random one on, ten classes; a worker's chance to be right
is uniform in (0.5, 0.95). Buckets are as large as those of `code_votes`. One thing is not as there:
items are not ordered by the hashes of their names, so that gold answers would not be found.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa

from crowdlearn.shards.votes import FORMAT

VOTES_AN_ITEM = 5
VOTES_A_BUCKET = 1 << 22
FEWEST_BUCKETS = 16


@contextmanager
def coded(
    n_votes: int, n_workers: int, n_classes: int = 10, *, parent: Path, keep: bool = False
) -> Iterator[Path]:
    """A folder of coded votes for a while; with `keep` it stays, and is found again."""
    name = f"coded-{n_votes}-{n_workers}-{n_classes}"
    parent.mkdir(parents=True, exist_ok=True)
    if keep:
        if not (parent / name / "summary.json").exists():
            write(parent / name, n_votes, n_workers, n_classes)
        yield parent / name
        return
    with TemporaryDirectory(prefix=f"{name}-", dir=parent) as folder:
        write(Path(folder), n_votes, n_workers, n_classes)
        yield Path(folder)


def write(folder: Path, n_votes: int, n_workers: int, n_classes: int) -> None:
    """The folder, a bucket at a time."""
    n_items = n_votes // VOTES_AN_ITEM
    n_buckets = max(-(-n_votes // VOTES_A_BUCKET), FEWEST_BUCKETS)
    edges = np.linspace(0, n_items, n_buckets + 1).astype(int)
    ability = np.random.default_rng(0).uniform(0.5, 0.95, n_workers).astype(np.float32)
    per_worker, per_class = (np.zeros(n, dtype=np.int64) for n in (n_workers, n_classes))
    sizes = []
    for bucket, (first, last) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        into = folder / "buckets" / f"{bucket:06d}"
        into.mkdir(parents=True)
        n = int(last - first)
        worker, label = _drawn(n, ability, n_classes, np.random.default_rng([1, bucket]))
        np.save(into / "offsets.npy", np.arange(n + 1, dtype=np.int64) * VOTES_AN_ITEM)
        np.save(into / "worker.npy", worker)
        np.save(into / "label.npy", label)
        _write_names(into / "items.arrow", "item", np.arange(first, last))
        per_worker += np.bincount(worker, minlength=n_workers)
        per_class += np.bincount(label, minlength=n_classes)
        sizes.append({"n_items": n, "n_votes": len(worker)})
    np.save(folder / "votes_per_worker.npy", per_worker)
    np.save(folder / "votes_per_class.npy", per_class)
    _write_names(folder / "workers.arrow", "worker", np.arange(n_workers))
    said = {
        "format": FORMAT, "kind": "coded votes", "classes": [str(k) for k in range(n_classes)],
        "salt": 0, "sources": [], "buckets": sizes,
    }  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(said))


def _drawn(
    n_items: int, ability: np.ndarray, n_classes: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Worker and label of every vote."""
    n_workers, n = len(ability), n_items * VOTES_AN_ITEM
    first = rng.integers(n_workers, size=n_items, dtype=np.int32)
    stride = rng.integers(1, max(n_workers // VOTES_AN_ITEM, 2), size=n_items, dtype=np.int32)
    turn = np.arange(VOTES_AN_ITEM, dtype=np.int64)
    worker = ((first[:, None] + stride[:, None] * turn) % n_workers).astype(np.int32).ravel()
    truth = np.repeat(rng.integers(n_classes, size=n_items, dtype=np.int32), VOTES_AN_ITEM)
    wrong = rng.integers(1, n_classes, size=n, dtype=np.int32)
    wrong[rng.random(n, dtype=np.float32) < ability[worker]] = 0
    return worker, (truth + wrong) % np.int32(n_classes)


def _write_names(path: Path, column: str, numbers: np.ndarray) -> None:
    table = pa.table({column: pa.array(numbers).cast(pa.large_string())})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
