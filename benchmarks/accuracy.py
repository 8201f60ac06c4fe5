"""How right and how honest is each method on public votes with known truth, ours and crowd-kit's?

    python -m benchmarks.accuracy [--sets rte web] [--methods ebcc crowdkit.GLAD] [--jobs 2]

Every method has its own defaults and sees no truth. Methods that draw run with `--seeds` seeds; the
rest are deterministic. Error counts ties fractionally; logarithms are clipped at 1e-15. Seconds are
CPU seconds of the fit alone (numba compiled before). A fit over `--cpu-limit` CPU seconds is "over
the limit". crowd-kit runs in its own environment (`make bench-peers`) and is left out without it.
Rows are kept in build/benchmarks as they come, so a second call goes on where the first stopped;
`--fresh` forgets those of the sets and methods named. Tables go to results/accuracy.json and
results/accuracy.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.accuracy_table import markdown, summary
from benchmarks.machine import ONE_THREAD, PEERS_PYTHON, RESULTS, ROOT, record, write_json
from benchmarks.truth_sets import SETS, find_data, load, read_posterior, scores, write_for_peers
from crowdlearn.aggregators import AGGREGATORS, aggregator
from crowdlearn.errors import VotesError

ROWS = ROOT / "build" / "benchmarks" / "accuracy.jsonl"
PEER = "crowdkit."
PEERS = tuple(
    PEER + name
    for name in (
        "MajorityVote",
        "Wawa",
        "DawidSkene",
        "OneCoinDawidSkene",
        "GLAD",
        "MACE",
        "KOS",
        "MMSR",
    )
)
OVER = "over the limit"


class Task(NamedTuple):
    """One row to be."""

    set: str
    method: str
    seed: int


def tasks(sets: Iterable[str], methods: Iterable[str], n_seeds: int) -> list[Task]:
    """All rows, the quick methods first."""
    return [
        Task(name, method, seed)
        for method in methods
        for name in sets
        for seed in range(n_seeds if draws(method) else 1)
    ]


def draws(method: str) -> bool:
    """Does its posterior depend on the seed?"""
    return method in AGGREGATORS and AGGREGATORS[method].random


def run(task: Task, cpu_limit: int) -> dict[str, Any]:
    """Fit and score one row; a failure is a row that says so."""
    find_data()
    row = run_peer(task, cpu_limit) if task.method.startswith(PEER) else run_own(task, cpu_limit)
    return {**task._asdict(), **row, "time": time.strftime("%Y-%m-%d %H:%M", time.gmtime())}


def run_own(task: Task, cpu_limit: int) -> dict[str, Any]:
    """One of this package's methods with its defaults and this seed."""
    votes, truth = load(task.set)
    method = aggregator(task.method, seed=task.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            method.fit(votes, on_sweep=lambda sweep: sweep.number >= 2)  # compiles
        except VotesError as error:  # a method for two classes, say
            return {"failed": f"failed: {error}"}
        start = time.process_time()
        fit = method.fit(votes, on_sweep=lambda sweep: time.process_time() - start > cpu_limit)
        seconds = time.process_time() - start
    if fit.history.stopped:
        return {"failed": OVER}
    return {
        **scores(fit.posterior, truth),
        "seconds": seconds,
        "sweeps": fit.history.n_sweeps,
        "converged": fit.history.converged,
        "warnings": list(fit.warnings),
    }


def run_peer(task: Task, cpu_limit: int) -> dict[str, Any]:
    """One of crowd-kit's methods, in a process of the peers' environment."""
    votes, truth = load(task.set)
    with tempfile.TemporaryDirectory() as folder:
        write_for_peers(votes, Path(folder) / "votes.parquet")
        row = peer_row(Path(folder), task.method.removeprefix(PEER), cpu_limit)
        if "failed" in row:
            return row
        posterior = read_posterior(Path(folder) / "posterior.parquet", votes)
    try:
        return {**scores(posterior, truth), **row}
    except ValueError as error:
        return {"failed": f"failed: answers cannot be scored: {error}"}


def peer_row(folder: Path, method: str, cpu_limit: int) -> dict[str, Any]:
    """Run the peer; what it says, or how it ended."""
    command = [str(PEERS_PYTHON), "-m", "benchmarks.peers.run_crowdkit", "fit"]
    command += ["--votes", str(folder / "votes.parquet"), "--method", method]
    command += ["--out", str(folder), "--cpu-limit", str(cpu_limit)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **ONE_THREAD}, capture_output=True, text=True
    )
    if (folder / "row.json").exists():
        row: dict[str, Any] = json.loads((folder / "row.json").read_text())
        return row
    if done.returncode == -24:  # SIGXCPU
        return {"failed": OVER}
    return {"failed": f"failed: exit {done.returncode}: {done.stderr.strip()[-200:]}"}


def kept_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of earlier calls; a half-written last line is left out."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def forget(sets: Iterable[str], methods: Iterable[str], path: Path) -> None:
    """Drop the rows of these sets and methods."""
    rows = [
        row for row in kept_rows(path) if row["set"] not in sets or row["method"] not in methods
    ]
    if path.exists():
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def run_all(todo: list[Task], jobs: int, cpu_limit: int, path: Path) -> None:
    """Run the tasks in fresh processes and append each row to `path` when it is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool, path.open("a") as file:
        futures = [pool.submit(run, task, cpu_limit) for task in todo]
        for future in as_completed(futures):
            row = future.result()
            file.write(json.dumps(row) + "\n")
            file.flush()
            said = row.get("failed") or f"error {row['error']:.4f}, {row['seconds']:.2f} s"
            print(f"{row['set']:10} {row['method']:28} {row['seed']} {said}", flush=True)


def write_results(rows: list[dict[str, Any]], cpu_limit: int) -> None:
    """results/accuracy.json and results/accuracy.md."""
    result = record(__doc__.strip().splitlines()[0], sorted({row["seed"] for row in rows}))
    result |= {"cpu_limit_seconds": cpu_limit, "summary": summary(rows), "rows": rows}
    write_json(RESULTS / "accuracy.json", result)
    (RESULTS / "accuracy.md").write_text(markdown(result))


def main() -> None:
    methods = (*AGGREGATORS, *(PEERS if PEERS_PYTHON.exists() else ()))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--methods", nargs="+", choices=methods, default=methods)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--cpu-limit", type=int, default=300, help="CPU seconds a fit")
    parser.add_argument(
        "--fresh", action="store_true", help="forget earlier rows of these sets and methods"
    )
    args = parser.parse_args()
    if args.fresh:
        forget(args.sets, args.methods, ROWS)
    done = {Task(row["set"], row["method"], row["seed"]) for row in kept_rows(ROWS)}
    todo = [t for t in tasks(args.sets, args.methods, args.seeds) if t not in done]
    run_all(todo, args.jobs, args.cpu_limit, ROWS)
    write_results(kept_rows(ROWS), args.cpu_limit)


if __name__ == "__main__":
    main()
