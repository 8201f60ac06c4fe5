"""What does crowd-kit answer, and what does it cost? One fit a process, in the peers' environment.

    .venv-peers/bin/python -m benchmarks.peers.run_crowdkit fit --votes V --method GLAD --out DIR
    .venv-peers/bin/python -m benchmarks.peers.run_crowdkit time --votes V.parquet --iterations 5

Every method has its own defaults. `fit` writes `posterior.parquet` (task, then a column a class)
and `row.json` into DIR; an exception is a row that says "failed: ...", and the system ends a fit
that goes over the CPU limit. `time` prints one JSON object: CPU and wall seconds of every iteration
of Dawid-Skene (from the start of an E step to the start of the next, stopping rule off), and the
peak of resident memory above the loaded votes. All on one thread.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from crowdkit.aggregation import (
    GLAD,
    KOS,
    MACE,
    MMSR,
    DawidSkene,
    MajorityVote,
    OneCoinDawidSkene,
    Wawa,
)

from benchmarks.machine import peak_mib, reset_peak, rss_mib

METHODS = {
    "MajorityVote": MajorityVote,
    "Wawa": Wawa,
    "DawidSkene": DawidSkene,
    "OneCoinDawidSkene": OneCoinDawidSkene,
    "GLAD": GLAD,
    "MACE": MACE,
    "KOS": KOS,
    "MMSR": MMSR,
}


def read(path: Path) -> pd.DataFrame:
    """The votes: Parquet as it is, CSV as strings."""
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def soft_labels(name: str, data: pd.DataFrame) -> tuple[pd.DataFrame, int | None]:
    """One row a task, one column a class, and how many iterations it took where that is known.

    MMSR gives scores, which need not be probabilities; KOS gives labels, here 0 and 1.
    """
    method = METHODS[name]()
    if name == "KOS":
        return pd.get_dummies(method.fit_predict(data)).astype(float), method.n_iter
    if name == "MMSR":
        scores = method.fit_predict_score(data)
    else:
        scores = method.fit_predict_proba(data)
    history = getattr(method, "loss_history_", None)
    return scores, len(history) if history else None


def limit_cpu(seconds: int) -> None:
    """The system ends this process after that much more CPU time."""
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used) + 1 + seconds, hard))


def fit(name: str, data: pd.DataFrame, out: Path) -> dict[str, Any]:
    """Fit one method; the posterior goes to `out`, the row is returned."""
    cpu, wall = time.process_time(), time.perf_counter()
    try:
        scores, iterations = soft_labels(name, data)
    except Exception as error:  # any crash of the peer is a result
        return {"failed": f"failed: {type(error).__name__}: {error}"[:200]}
    spent = {
        "seconds": time.process_time() - cpu,
        "wall_seconds": time.perf_counter() - wall,
        "iterations": iterations,
    }
    scores.columns = [str(column) for column in scores.columns]
    scores.rename_axis("task").reset_index().to_parquet(out / "posterior.parquet")
    return spent


class TimedDawidSkene(DawidSkene):
    """Notes the clocks whenever an iteration starts."""

    def __init__(self, n_iter: int) -> None:
        super().__init__(n_iter=n_iter, tol=-np.inf)
        self.stamps: list[tuple[float, float]] = []

    def _e_step(self, data: Any, priors: Any, errors: Any) -> Any:
        self.stamps.append((time.process_time(), time.perf_counter()))
        return super()._e_step(data, priors, errors)


def time_dawid_skene(data: pd.DataFrame, iterations: int) -> dict[str, Any]:
    """CPU and wall seconds of each iteration, and MiB that the fit added at its peak."""
    before, peak_known = rss_mib(), reset_peak()
    method = TimedDawidSkene(iterations)
    method.fit(data)
    end = (time.process_time(), time.perf_counter())
    steps = np.diff([*method.stamps, end], axis=0)
    return {
        "cpu_seconds": steps[:, 0].tolist(),
        "wall_seconds": steps[:, 1].tolist(),
        "extra_mib": peak_mib() - before if peak_known else None,
        "votes": len(data),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["fit", "time"])
    parser.add_argument("--votes", type=Path, required=True)
    parser.add_argument("--method", choices=METHODS, default="DawidSkene")
    parser.add_argument("--out", type=Path, default=Path("."))
    parser.add_argument("--cpu-limit", type=int, default=300, help="CPU seconds a fit")
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--strings", action="store_true", help="turn all ids into strings first")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    data = read(args.votes)
    if args.strings:
        data = data.astype(str)
    if args.command == "time":
        print(json.dumps(time_dawid_skene(data, args.iterations)))
        return
    limit_cpu(args.cpu_limit)
    row = fit(args.method, data, args.out)
    (args.out / "row.json").write_text(json.dumps(row))


if __name__ == "__main__":
    main()
