"""Do chains run side by side? Wall seconds of 4 Gibbs chains on one thread against two.

    python -m benchmarks.speed_chains [--votes 1000000] [--sweeps 20] [--rounds 3]

BCC by Gibbs on synthetic votes, set-up and diagnostics included, after a fit that compiles. One and
two threads take turns; the best of the rounds counts. Posteriors of both must be equal.
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import Any

import numpy as np

from benchmarks import synthetic
from benchmarks.machine import RESULTS, record, write_json
from crowdlearn.aggregation import Aggregation
from crowdlearn.aggregators import aggregator
from crowdlearn.votes import Votes


def fit(votes: Votes, n_threads: int, n_sweeps: int) -> tuple[float, Aggregation]:
    """Wall seconds of 4 chains, and their result."""
    method = aggregator(
        "bcc-gibbs", n_chains=4, n_warmup=0, n_draws=n_sweeps, n_threads=n_threads, seed=0
    )
    start = time.perf_counter()
    result = method.fit(votes)
    return time.perf_counter() - start, result


def measure(votes: Votes, n_sweeps: int, rounds: int) -> dict[str, Any]:
    """Best wall seconds with one thread and with two, and how much faster two are."""
    fit(votes, 2, 1)
    walls: dict[int, list[float]] = {1: [], 2: []}
    posteriors = {}
    for _ in range(rounds):
        for n_threads in walls:
            seconds, result = fit(votes, n_threads, n_sweeps)
            walls[n_threads].append(seconds)
            posteriors[n_threads] = result.posterior
    return {
        "wall_seconds": walls,
        "speed_up": min(walls[1]) / min(walls[2]),
        "equal": bool(np.array_equal(posteriors[1], posteriors[2])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--votes", type=int, default=10**6)
    parser.add_argument("--sweeps", type=int, default=20, help="a chain")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    result = record(__doc__.strip().splitlines()[0], [0])
    votes = synthetic.read_codes(synthetic.cached(args.votes))
    result |= {"votes": args.votes, "sweeps": args.sweeps}
    result |= measure(votes, args.sweeps, args.rounds)
    write_json(RESULTS / "speed_chains.json", result)
    print(f"two threads {result['speed_up']:.2f} x one; equal: {result['equal']}")


if __name__ == "__main__":
    main()
