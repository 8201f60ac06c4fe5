"""One fit of coded votes in a fresh process; prints one JSON object.

    python -m benchmarks.scaling.fit '{"folder": "coded", "where": "ray", "sweeps": 8}'

where       memory (all votes as `Votes`), turns (buckets in turn, `memory` bytes), ray (actors)
method      its name, `settings` what else it is given; `sweeps` at most, `threads` of this machine
actors      of Ray; `address` of a cluster that runs, with `node`, the address of this machine
checkpoint  folder of notes, `note_seconds` between them where it is not the package's
marks       file that gets a line a sweep; `out` folder for the parameters and posteriors

A sweep's seconds are wall, from the end of one to the end of the next.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import ONE_THREAD, ROOT
from benchmarks.scaling.processes import Watch

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",  # as the package has it where it starts Ray: actors wait for nobody
}
OBJECT_STORE = 2 << 30


def start(what: dict[str, Any], within: list[str] | None = None) -> subprocess.Popen[str]:
    """The process of a fit, by the command `within` if one is given."""
    return subprocess.Popen(
        [*(within or []), sys.executable, "-m", "benchmarks.scaling.fit", json.dumps(what)],
        cwd=ROOT, env={**os.environ, **ONE_THREAD, **QUIET}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What the fit of a process said, once it is over. Raises RuntimeError where it failed."""
    out, said = process.communicate()
    if process.returncode:
        raise RuntimeError(f"a fit ended with {process.returncode}: {said[-3000:]}")
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def watched(what: dict[str, Any]) -> tuple[dict[str, Any], Watch]:
    """A fit in a process of its own, and what the processes took."""
    process = start(what)
    with Watch(process.pid) as watch:
        found = answer(process)
    return found, watch


class Clock:
    """Notes when sweeps end."""

    def __init__(self, marks: str | None) -> None:
        self.stamps: list[float] = []
        self.marks = marks

    def __call__(self, sweep: Any) -> None:
        self.stamps.append(time.perf_counter())
        if self.marks is not None:
            with open(self.marks, "a") as file:
                file.write(f"{sweep.number}\n")


def fit(what: dict[str, Any]) -> dict[str, Any]:
    """The fit, in this process."""
    from crowdlearn.aggregators import aggregator
    from crowdlearn.shards import noted, open_votes

    warnings.simplefilter("ignore")
    began = time.perf_counter()
    noted.SECONDS = what.get("note_seconds", noted.SECONDS)
    on_ray = what["where"] == "ray"
    if on_ray:
        join(what)
    there = time.perf_counter()
    votes: Any = open_votes(
        what["folder"], memory=what.get("memory"), n_actors=what.get("actors"),
        checkpoint=what.get("checkpoint"),
    )  # fmt: skip
    if what["where"] == "memory":
        votes = votes.load(0, votes.n_buckets)
    settings = {"max_sweeps": what["sweeps"], "tolerance": 0.0, **what.get("settings", {})}
    method = aggregator(
        what.get("method", "dawid-skene"), device="ray" if on_ray else "cpu",
        n_threads=1 if on_ray else what.get("threads", 2), **settings,
    )  # fmt: skip
    clock = Clock(what.get("marks"))
    result = method.fit(votes, on_sweep=clock)
    ended = time.perf_counter()
    if what.get("out"):
        write(result, Path(what["out"]))
    steps = np.diff(clock.stamps)
    return {
        "votes": votes.n_votes, "items": votes.n_items, "workers": votes.n_workers,
        "sweeps": len(clock.stamps), "sweep seconds": steps.tolist(),
        "a sweep": float(np.median(steps)) if len(steps) else None,
        "cluster seconds": there - began, "until first sweep": clock.stamps[0] - there,
        "seconds": ended - began,
    }  # fmt: skip


def join(what: dict[str, Any]) -> None:
    """Start Ray here, or join the cluster at an address."""
    import ray

    if what.get("address"):
        ray.init(address=what["address"], _node_ip_address=what["node"], log_to_driver=False)
    else:
        ray.init(
            num_cpus=what["actors"], include_dashboard=False, log_to_driver=False,
            object_store_memory=what.get("object_store", OBJECT_STORE),
        )  # fmt: skip


def write(result: Any, folder: Path) -> None:
    """Confusions and posteriors, to be compared."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "confusion.npy", result.confusion)
    for bucket, table in enumerate(result.tables()):
        columns = [table[f"p_{name}"].to_numpy() for name in result.votes.classes]
        np.save(folder / f"posterior-{bucket:06d}.npy", np.stack(columns, axis=1))


def difference(one: Path, other: Path) -> float:
    """The largest difference between what `write` wrote to two folders."""
    names = sorted(path.name for path in one.glob("*.npy"))
    if names != sorted(path.name for path in other.glob("*.npy")):
        raise ValueError(f"{one} and {other} hold other files")
    return max(float(np.abs(np.load(one / n) - np.load(other / n)).max()) for n in names)


def main() -> None:
    """What `start` starts."""
    print(json.dumps(fit(json.loads(sys.argv[1]))))


if __name__ == "__main__":
    main()
