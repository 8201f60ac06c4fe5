"""Dawid-Skene votes of any size in Parquet files: 10 classes, 5 votes an item, 500 votes a worker.

    python -m benchmarks.synthetic VOTES FOLDER [--classes 10]

A worker's chance to be right on a class is uniform in (0.5, 0.95); errors are shared out unevenly.
Written in parts, so that 10^8 votes need little memory. Ids and labels are integers, the cheapest
kind for every package. Item and truth of a part follow the seed and the part's number.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int

from benchmarks.machine import ROOT
from crowdlearn.simulate import dawid_skene, fixed_per_item, given_workers
from crowdlearn.votes import Votes

CACHE = ROOT / "build" / "benchmarks"
VOTES_AN_ITEM = 5
VOTES_A_WORKER = 500
ITEMS_A_PART = 1_000_000


def write(n_votes: int, folder: Path, n_classes: int = 10, seed: int = 0) -> Path:
    """Votes in `folder`/part-*.parquet; returns the pattern to read them by."""
    folder.mkdir(parents=True, exist_ok=True)
    n_items, n_workers = n_votes // VOTES_AN_ITEM, max(n_votes // VOTES_A_WORKER, VOTES_AN_ITEM)
    workers = dawid_skene(1, n_workers, n_classes, seed=seed).confusion
    for number, first in enumerate(range(0, n_items, ITEMS_A_PART)):
        part = given_workers(
            workers,
            n_items=min(ITEMS_A_PART, n_items - first),
            assign=fixed_per_item(VOTES_AN_ITEM),
            seed=seed + 1 + number,
        )
        pq.write_table(_table(part.votes, first), folder / f"part-{number:03}.parquet")
    return folder / "part-*.parquet"


def cached(n_votes: int, n_classes: int = 10, seed: int = 0) -> Path:
    """One Parquet file of votes, kept in build/benchmarks for the next call."""
    folder = CACHE / f"votes-{n_votes}-{n_classes}-{seed}"
    path = folder / "votes.parquet"
    if not path.exists():
        pattern = write(n_votes, folder, n_classes, seed)
        parts = sorted(folder.glob(pattern.name))
        pq.write_table(pa.concat_tables([pq.read_table(part) for part in parts]), path)
        for part in parts:
            part.unlink()
    return path


def truth_of(n_votes: int, n_classes: int = 10, seed: int = 0) -> Int[np.ndarray, " item"]:
    """The truth behind the votes of `cached`, for up to a part of items. Drawn again."""
    n_items, n_workers = n_votes // VOTES_AN_ITEM, max(n_votes // VOTES_A_WORKER, VOTES_AN_ITEM)
    workers = dawid_skene(1, n_workers, n_classes, seed=seed).confusion
    assert n_items <= ITEMS_A_PART
    assign = fixed_per_item(VOTES_AN_ITEM)
    return given_workers(workers, n_items=n_items, assign=assign, seed=seed + 1).truth


def read_codes(path: Path) -> Votes:
    """The votes of a file that `cached` wrote, without going through names."""
    table = pq.read_table(path)
    item, worker, label = (table[name].to_numpy() for name in ("task", "worker", "label"))
    return Votes.from_codes(item, worker, label)


def _table(votes: Votes, first_item: int) -> pa.Table:
    item = votes.item + np.int32(first_item)
    return pa.table({"task": item, "worker": votes.worker, "label": votes.label})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("votes", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--classes", type=int, default=10)
    args = parser.parse_args()
    print(write(args.votes, args.folder, args.classes))


if __name__ == "__main__":
    main()
