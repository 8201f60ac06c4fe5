"""How long does reading votes take, and how much memory, from CSV with string ids and from Parquet?

    python -m benchmarks.ingest [--votes 1000000] [--huge] [--write FILE]

Files are generated in a temporary folder: five votes an item in random order, 500 votes a worker,
ten classes. Every reading runs in a fresh child process; wall and CPU seconds are those of the call
(imports apart), memory is the peak of the process. `--huge` adds 10^8 votes of Parquet with integer
ids: 2 * 10^7 items, 2 * 10^5 workers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from benchmarks.machine import record, write_json

CHILD = """
import json, resource, sys, time
from crowdlearn.io import read_votes
wall, cpu = time.perf_counter(), time.process_time()
votes = read_votes(sys.argv[1])
print(json.dumps({
    "votes": votes.n_votes, "items": votes.n_items, "workers": votes.n_workers,
    "seconds": round(time.perf_counter() - wall, 2),
    "cpu_seconds": round(time.process_time() - cpu, 2),
    "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
}))
"""


def generate(folder: Path, n_votes: int, *, strings: bool, seed: int = 0) -> dict[str, Path]:
    """Write the files, a million rows at a time; CSV only where the ids are strings."""
    rng = np.random.default_rng(seed)
    kind = "string" if strings else "integer"
    paths = {f"parquet, {kind} ids": folder / f"{n_votes}_{kind}.parquet"}
    if strings:
        paths["csv, string ids"] = folder / f"{n_votes}.csv"
    schema = _rows(rng, 1, n_votes, strings).schema
    with pq.ParquetWriter(paths[f"parquet, {kind} ids"], schema) as parquet:
        csv = strings and pa.csv.CSVWriter(
            paths["csv, string ids"],
            schema,
            write_options=pa.csv.WriteOptions(quoting_style="none"),
        )
        for start in range(0, n_votes, 1_000_000):
            rows = _rows(rng, min(1_000_000, n_votes - start), n_votes, strings)
            parquet.write_table(rows)
            if csv:
                csv.write_table(rows)
        if csv:
            csv.close()
    return paths


def _rows(rng: np.random.Generator, n_rows: int, n_votes: int, strings: bool) -> pa.Table:
    item = pa.array(rng.integers(0, max(n_votes // 5, 1), n_rows))
    worker = pa.array(rng.integers(0, max(n_votes // 500, 1), n_rows))
    label = pa.array([f"class_{k}" for k in range(10)]).take(pa.array(rng.integers(0, 10, n_rows)))
    if strings:
        item, worker = _named("item_", item), _named("worker_", worker)
    return pa.table({"task": item, "worker": worker, "label": label})


def _named(prefix: str, codes: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    return pc.binary_join_element_wise(prefix, codes.cast(pa.string()), "")


def measure(paths: dict[str, Path]) -> dict[str, dict[str, float]]:
    """Read every file in a process of its own."""
    results = {}
    for name, path in paths.items():
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(path)], check=True, capture_output=True, text=True
        )
        results[name] = {"file_mb": round(path.stat().st_size / 1e6), **json.loads(done.stdout)}
        print(name, json.dumps(results[name]), flush=True)
        path.unlink()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--votes", type=int, default=1_000_000)
    parser.add_argument("--huge", action="store_true")
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
    report = record("How long does reading votes take, and how much memory?", seeds=[0])
    results = report["results"] = {}
    with tempfile.TemporaryDirectory() as name:
        results[f"{given.votes:,} votes"] = measure(
            generate(Path(name), given.votes, strings=True)
            | generate(Path(name), given.votes, strings=False)
        )
        if given.huge:
            results["100,000,000 votes"] = measure(generate(Path(name), 10**8, strings=False))
    if given.write:
        write_json(given.write, report)


if __name__ == "__main__":
    main()
