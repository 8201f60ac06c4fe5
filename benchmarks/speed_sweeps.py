"""What does a sweep cost beside an iteration of crowd-kit's Dawid-Skene, in the same run?

    python -m benchmarks.speed_sweeps [--sizes 1000000 10000000] [--rounds 3]

Synthetic votes (`benchmarks.synthetic`). Dawid-Skene at every size, EBCC and BCC by Gibbs at 10^6
and below. Every run is a fresh process on one thread, and our Dawid-Skene on two as well; peer and
ours take turns, so that a noisy neighbour hits both. A round costs the mean of its sweeps, and the
best round counts. crowd-kit gets the ids once as strings, as CSV files have them, and once as
integers, which it likes better; ours turns either into codes when it reads them. The bars are about
strings.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks import synthetic
from benchmarks.machine import PEERS_PYTHON, RESULTS, record, write_json
from benchmarks.sweep_cost import a_sweep, in_fresh_process, run_json

PEER_ITERATIONS = {10**5: 20, 10**6: 5, 10**7: 2}
PEER_RUNS = {"crowd-kit": ["--strings"], "crowd-kit, integer ids": []}
OWN_SWEEPS = 20
SMALL_TURNS = {"n_chains": 1, "n_warmup": 5, "n_draws": OWN_SWEEPS}
RUNS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "dawid-skene": ("dawid-skene", 1, {"tolerance": 0.0}),
    "dawid-skene, 2 threads": ("dawid-skene", 2, {"tolerance": 0.0}),
    "ebcc": ("ebcc", 1, {"tolerance": 0.0, "n_restarts": 1}),
    "bcc-gibbs": ("bcc-gibbs", 1, SMALL_TURNS),
}
"""Name -> method, threads, settings."""
EVERY_SIZE = ("dawid-skene", "dawid-skene, 2 threads")
MOST_VOTES = 2 * 10**6  # for the other methods
BARS: dict[str, dict[int, float]] = {
    "crowd-kit / dawid-skene": {10**6: 70, 10**7: 100},
    "crowd-kit, integer ids / dawid-skene": {},
    "speed-up by 2 threads": {10**6: 1.6, 10**7: 1.6},
    "ebcc / crowd-kit": {10**6: 0.3},
    "bcc-gibbs / dawid-skene": {10**6: 4},
    "extra MiB": {10**7: 500 / 1.048576},
}
AT_LEAST = ("crowd-kit / dawid-skene", "speed-up by 2 threads")  # the other bars are ceilings


def peer(path: Path, iterations: int, ids: list[str]) -> dict[str, Any]:
    """crowd-kit's Dawid-Skene in its own environment."""
    command = [str(PEERS_PYTHON), "-m", "benchmarks.peers.run_crowdkit", "time", *ids]
    return run_json([*command, "--votes", str(path), "--iterations", str(iterations)])


def measure(n_votes: int, rounds: int) -> dict[str, Any]:
    """All runs at one size, and the ratios that the bars are about."""
    path = synthetic.cached(n_votes)
    found: dict[str, list[dict[str, Any]]] = {}
    for _ in range(rounds):
        for name, ids in PEER_RUNS.items() if PEERS_PYTHON.exists() else ():
            run = peer(path, PEER_ITERATIONS.get(n_votes, 5), ids)
            found.setdefault(name, []).append(run)
        for name, (method, threads, settings) in RUNS.items():
            if n_votes <= MOST_VOTES or name in EVERY_SIZE:
                run = in_fresh_process(
                    path, method, threads=threads, sweeps=OWN_SWEEPS, settings=settings
                )
                found.setdefault(name, []).append(run)
    costs = {name: cost(runs) for name, runs in found.items()}
    return {"votes": n_votes, "costs": costs, "ratios": ratios(costs), "runs": found}


def cost(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Seconds a sweep in the best round, and the largest peak of memory."""
    extra = [run["extra_mib"] for run in runs if run["extra_mib"] is not None]
    return {
        "cpu_seconds": min(a_sweep(run, "cpu") for run in runs),
        "wall_seconds": min(a_sweep(run, "wall") for run in runs),
        "extra_mib": max(extra) if extra else None,
    }


def ratios(costs: dict[str, dict[str, Any]]) -> dict[str, float]:
    """CPU time per sweep, one method's to another's; wall time for the threads."""
    own = costs["dawid-skene"]
    found = {
        "speed-up by 2 threads": own["wall_seconds"]
        / costs["dawid-skene, 2 threads"]["wall_seconds"],
        "extra MiB": own["extra_mib"],
    }
    if "crowd-kit" in costs:
        theirs = costs["crowd-kit"]["cpu_seconds"]
        found["crowd-kit / dawid-skene"] = theirs / own["cpu_seconds"]
        on_integers = costs["crowd-kit, integer ids"]["cpu_seconds"]
        found["crowd-kit, integer ids / dawid-skene"] = on_integers / own["cpu_seconds"]
        if "ebcc" in costs:
            found["ebcc / crowd-kit"] = costs["ebcc"]["cpu_seconds"] / theirs
    if "bcc-gibbs" in costs:
        found["bcc-gibbs / dawid-skene"] = costs["bcc-gibbs"]["cpu_seconds"] / own["cpu_seconds"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10**6, 10**7])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    result = record(__doc__.strip().splitlines()[0], [0])
    result["sizes"] = [measure(size, args.rounds) for size in args.sizes]
    write_json(RESULTS / "speed_sweeps.json", result)
    for size in result["sizes"]:
        for name, of in size["costs"].items():
            cpu, wall = of["cpu_seconds"], of["wall_seconds"]
            spent = f"{1e3 * cpu:10.2f} ms CPU {1e3 * wall:10.2f} ms wall"
            print(f"{size['votes']:>10,} {name:36} {spent}")
        for name, value in size["ratios"].items():
            bar = BARS[name].get(size["votes"])
            print(f"{size['votes']:>10,} {name:36} {value:10.2f} (bar {bar})")


if __name__ == "__main__":
    main()
