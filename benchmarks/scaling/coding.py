"""How many rows a second does coding take, and how much memory? Parquet parts to a coded folder.

python -m benchmarks.scaling.coding PATTERN FOLDER       prints one JSON object
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.inversion.cells import Key, Row
from benchmarks.machine import peak_mib
from benchmarks.scale_1e8 import in_fresh_process
from benchmarks.scaling.fit import QUIET, join


def keys(given: Any) -> list[Key]:
    """One size, in one process and on Ray."""
    return [
        {"votes": given.coding_votes, "device": device, "work": str(given.folder)}
        for device in ("cpu", "ray")
    ]


def cell(key: Key) -> Row:
    """Write votes in one process, code them in another."""
    Path(key["work"]).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=key["work"]) as folder:
        pattern = in_fresh_process(["benchmarks.synthetic", str(key["votes"]), folder])
        found: Row = json.loads(
            in_fresh_process(
                ["benchmarks.scaling.coding", pattern, f"{folder}/coded", key["device"]]
            )
        )
    return found


def code(pattern: str, folder: str, device: str) -> Row:
    """Seconds without the start of Ray, rows a second, and the peak of this process, MiB."""
    from crowdlearn.shards import code_votes

    if device == "ray":
        join({"actors": len(os.sched_getaffinity(0))})
    started = time.perf_counter()
    votes = code_votes(pattern, folder, device=device)
    seconds = time.perf_counter() - started
    size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    return {
        "seconds": seconds, "rows a second": votes.n_votes / seconds, "peak": peak_mib(),
        "bytes a vote": size / votes.n_votes, "items": votes.n_items, "workers": votes.n_workers,
    }  # fmt: skip


def summary(rows: list[Row]) -> dict[str, Any]:
    """The row."""
    return {"table": rows}


if __name__ == "__main__":
    os.environ.update(QUIET)
    print(json.dumps(code(*sys.argv[1:])))
