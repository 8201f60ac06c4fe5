from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crowdlearn.io import read_votes
from crowdlearn.shards import ShardedVotes, code_votes
from crowdlearn.votes import Votes

CLASSES = ("c0", "c1", "c2")


@dataclass(frozen=True)
class World:
    """Votes in three Parquet files, read at once and coded into eight buckets."""

    files: list[Path]
    folder: Path
    votes: Votes
    coded: ShardedVotes


def write_parts(table: pa.Table, folder: Path, n: int) -> list[Path]:
    files = [folder / f"part-{k}.parquet" for k in range(n)]
    edges = np.linspace(0, len(table), n + 1).astype(int)
    for file, low, high in zip(files, edges[:-1], edges[1:], strict=True):
        pq.write_table(table.slice(low, high - low), file)
    return files


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    rng = np.random.default_rng(0)
    n_items, n_workers, n = 400, 12, 2400
    truth, ability = rng.integers(0, 3, n_items), rng.beta(6, 2, n_workers)
    item, worker = rng.integers(0, n_items, n), rng.integers(0, n_workers, n)
    label = np.where(rng.random(n) < ability[worker], truth[item], rng.integers(0, 3, n))
    table = pa.table(
        {
            "task": [f"item {k}" for k in item],
            "worker": [f"w{k}" for k in worker],
            "label": [CLASSES[k] for k in label],
        }
    )
    folder = tmp_path_factory.mktemp("coded")
    files = write_parts(table, folder, 3)
    coded = code_votes([str(f) for f in files], folder / "coded", n_buckets=8)
    return World(files, folder / "coded", read_votes([str(f) for f in files]), coded)
