"""Do 10^8 votes fit? Parquet on disk to a Dawid-Skene result on two cores.

    python -m benchmarks.scale_1e8 [--votes 100000000] [--sweeps 20] [--folder DIR]

One process writes the votes in parts to a temporary folder (about 4 bytes a vote), a second reads
them with `read_votes` and fits. Peak is the largest resident memory of that second process, reading
included; a sweep's seconds are wall, the median after the first.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import RESULTS, ROOT, peak_mib, record, rss_mib, write_json
from benchmarks.sweep_cost import Clock

CORES = 2
BAR_MIB = 8e9 / 2**20


def read_and_fit(pattern: str, n_sweeps: int) -> dict[str, Any]:
    """Read the parts, sweep, and say what it took; in this process."""
    from crowdlearn.aggregators import aggregator
    from crowdlearn.io import read_votes

    warnings.simplefilter("ignore")
    start = time.perf_counter()
    votes = read_votes(pattern)
    loaded = time.perf_counter()
    found = {"read_seconds": loaded - start, "read_peak_mib": peak_mib(), "votes_mib": rss_mib()}
    clock = Clock(n_sweeps)
    method = aggregator("dawid-skene", max_sweeps=n_sweeps, tolerance=0.0, n_threads=CORES)
    fit = method.fit(votes, on_sweep=clock)
    steps = np.diff(clock.stamps, axis=0)
    return found | {
        "votes": votes.n_votes,
        "items": votes.n_items,
        "workers": votes.n_workers,
        "sweeps": fit.history.n_sweeps,
        "fit_seconds": time.perf_counter() - loaded,
        "sweep_wall_seconds": float(np.median(steps[:, 1])),
        "sweep_cpu_seconds": float(np.median(steps[:, 0])),
        "peak_mib": peak_mib(),
        "expected_error": float(1 - fit.confidence.mean()),
    }


def in_fresh_process(arguments: list[str]) -> str:
    """Last line that a module of this repository prints, run on `CORES` cores."""
    cores = set(sorted(os.sched_getaffinity(0))[:CORES])
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    return done.stdout.splitlines()[-1]


def measure(n_votes: int, n_sweeps: int, parent: Path | None) -> dict[str, Any]:
    """Write, then read and fit."""
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        pattern = in_fresh_process(["benchmarks.synthetic", str(n_votes), folder])
        on_disk = sum(path.stat().st_size for path in Path(folder).glob("*.parquet"))
        child = ["benchmarks.scale_1e8", "--child", pattern, "--sweeps", str(n_sweeps)]
        found: dict[str, Any] = json.loads(in_fresh_process(child))
    return {"disk_mib": on_disk / 2**20, "bar_mib": BAR_MIB, **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--votes", type=int, default=10**8)
    parser.add_argument("--sweeps", type=int, default=20)
    parser.add_argument("--folder", type=Path, help="where the temporary folder goes")
    parser.add_argument("--child", metavar="PATTERN", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(read_and_fit(args.child, args.sweeps)))
        return
    result = record(__doc__.strip().splitlines()[0], [0])
    result |= measure(args.votes, args.sweeps, args.folder)
    write_json(RESULTS / "scale_1e8.json", result)
    print(
        f"{result['votes']:,} votes: read {result['read_seconds']:.0f} s, "
        f"{result['sweeps']} sweeps {result['fit_seconds']:.0f} s "
        f"({result['sweep_wall_seconds']:.2f} s a sweep), peak {result['peak_mib']:,.0f} MiB "
        f"(bar {BAR_MIB:,.0f})"
    )


if __name__ == "__main__":
    main()
