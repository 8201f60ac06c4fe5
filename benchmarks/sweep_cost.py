"""What does one sweep of one method cost? One fit in a fresh process; prints one JSON object.

    python -m benchmarks.sweep_cost --votes V.parquet --method dawid-skene --threads 1 --sweeps 12

Sweeps are timed by `on_sweep`, from the end of one to the end of the next, after a fit of the same
shape that compiles. `extra_mib` is the peak of resident memory during the fit above what was
resident before it with the votes loaded. `--set name=value` gives further settings as JSON.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import ONE_THREAD, ROOT, peak_mib, reset_peak, rss_mib
from benchmarks.synthetic import read_codes
from crowdlearn.aggregation import Sweep
from crowdlearn.aggregators import aggregator


class Clock:
    """Notes the clocks at the end of every sweep, and stops the fit after `sweeps`."""

    def __init__(self, sweeps: int) -> None:
        self.sweeps = sweeps
        self.stamps: list[tuple[float, float]] = []

    def __call__(self, sweep: Sweep) -> bool:
        self.stamps.append((time.process_time(), time.perf_counter()))
        return len(self.stamps) > self.sweeps


def measure(path: Path, method: Any, sweeps: int) -> dict[str, Any]:
    """CPU and wall seconds of every sweep, and MiB that the fit added at its peak."""
    warnings.simplefilter("ignore")
    method.fit(read_codes(path), on_sweep=Clock(1))
    gc.collect()
    votes = read_codes(path)
    before, peak_known = rss_mib(), reset_peak()
    clock = Clock(sweeps)
    method.fit(votes, on_sweep=clock)
    extra = peak_mib() - before if peak_known else None
    steps = np.diff(clock.stamps, axis=0)
    return {
        "method": method.name,
        "votes": votes.n_votes,
        "cpu_seconds": steps[:, 0].tolist(),
        "wall_seconds": steps[:, 1].tolist(),
        "extra_mib": extra,
    }


def in_fresh_process(
    path: Path, method: str, *, threads: int, sweeps: int, settings: dict[str, Any]
) -> dict[str, Any]:
    """`measure` in a process of its own; `settings` are those of the method besides n_threads."""
    command = [sys.executable, "-m", "benchmarks.sweep_cost", "--votes", str(path)]
    command += ["--method", method, "--threads", str(threads), "--sweeps", str(sweeps)]
    for name, value in settings.items():
        command += ["--set", f"{name}={json.dumps(value)}"]
    return run_json(command)


def run_json(command: list[str]) -> dict[str, Any]:
    """Run a program from the repository's root, its libraries on one thread; its JSON answer."""
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **ONE_THREAD}, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} ended with {done.returncode}: {done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def a_sweep(run: dict[str, Any], clock: str) -> float:
    """Seconds a sweep, the mean over the run's sweeps."""
    return float(np.mean(run[f"{clock}_seconds"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--votes", type=Path, required=True)
    parser.add_argument("--method", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sweeps", type=int, default=12)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=JSON")
    args = parser.parse_args()
    settings = {name: json.loads(value) for name, value in (s.split("=", 1) for s in args.set)}
    method = aggregator(args.method, n_threads=args.threads, **settings)
    print(json.dumps(measure(args.votes, method, args.sweeps)))


if __name__ == "__main__":
    main()
