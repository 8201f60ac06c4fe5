"""Do networks aggregate labels better than classical models, when do they stop, what do they cost?

    python -m benchmarks.neural_aggregators [--parts sets stream ...] [--seeds 5] [--jobs 2]

Parts:
    sets       errors of the neural methods beside majority, Dawid-Skene by both starts, BCC, EBCC
               and IDBLA, all at their defaults, on the public sets and the 76-worker part of web
    stopping   where early stopping ends and what it is worth, against all 1,000 epochs
    encodings  the first layer as a bag of votes and as a dense one-hot row
    stream     BiLA on the regenerated stream of its published run (`neural_stream`)
    epoch      seconds and memory of an epoch at 10^6 votes, on a GPU too where torch sees one
A part that is run replaces its results, the others stay. Errors count ties in parts. Methods that
draw nothing run once; `--large-seeds` seeds are for the two largest sets.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch

from benchmarks import neural_stream
from benchmarks.idbla import web_76
from benchmarks.machine import RESULTS, ROOT, record, write_json
from benchmarks.neural_table import markdown
from benchmarks.truth_sets import SETS, find_data, load, scores
from crowdlearn.aggregation import Aggregation
from crowdlearn.aggregators import AGGREGATORS, aggregator
from crowdlearn.inference.starts import hard_majority, soft_majority

PART_OF_WEB = "web (76 workers)"
LARGE = ("trec", "cifar10n")
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "majority": ("majority", {}),
    "dawid-skene, hard start": ("dawid-skene", {"start": hard_majority}),
    "dawid-skene, soft start": ("dawid-skene", {"start": soft_majority}),
    "bcc": ("bcc", {}),
    "ebcc": ("ebcc", {}),
    "idbla": ("idbla", {}),
    "consensus": ("consensus", {}),
    "consensus-onecoin": ("consensus-onecoin", {}),
    "bila": ("bila", {}),
    "laa": ("laa", {}),
    "laa, 500 epochs": ("laa", {"n_epochs": 500}),
}
STOPPING = {
    "first within an error": {},
    "best score": {"n_errors": 0.0},
    "1,000 epochs": {"left_out": 0.0, "n_epochs": 1000},
}
SMALL = ("rte", "bluebird", "flowers", "dog", PART_OF_WEB)


def known(name: str) -> Any:
    """Votes and truth of a set."""
    find_data()
    return web_76() if name == PART_OF_WEB else load(name)


def fit(name: str, method: str, settings: dict[str, Any], seed: int) -> tuple[Aggregation, float]:
    """A quiet fit on a set, and its CPU seconds."""
    torch.set_num_threads(1)
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = aggregator(method, seed=seed, **settings).fit(known(name)[0])
    return done, time.process_time() - start


def scored(task: tuple[str, str, int]) -> list[dict[str, Any]]:
    """One fit of the part `sets`; a consensus gives two rows, one a read-out."""
    name, title, seed = task
    (method, settings), truth = METHODS[title], known(name)[1]
    done, seconds = fit(name, method, settings, seed)
    row = {"set": name, "seed": seed, "seconds": seconds, "epochs": done.history.n_sweeps}
    rows = [row | {"method": title} | scores(done.posterior, truth)]
    if method.startswith("consensus"):
        predictor: Any = done.predictor
        other = predictor.parts[0].predict(done.votes)
        rows.append(row | {"method": f"{title}, network's answer"} | scores(other, truth))
    return rows


def stopped(task: tuple[str, str, int]) -> list[dict[str, Any]]:
    """One fit of the part `stopping`."""
    name, rule, seed = task
    done, _ = fit(name, "consensus", STOPPING[rule], seed)
    found = scores(done.posterior, known(name)[1])
    return [{"set": name, "rule": rule, "seed": seed, "epochs": done.history.n_sweeps} | found]


def encoded(task: tuple[str, str, int]) -> list[dict[str, Any]]:
    """One fit of the part `encodings`."""
    name, encoding, seed = task
    done, seconds = fit(name, "consensus", {"encoding": encoding}, seed)
    found = scores(done.posterior, known(name)[1])
    return [{"set": name, "encoding": encoding, "seed": seed, "seconds": seconds} | found]


def streamed(seed: int) -> list[dict[str, Any]]:
    torch.set_num_threads(1)
    return [neural_stream.run(seed)]


def epochs() -> list[dict[str, Any]]:
    """Each device in a fresh process; the GPU also at a batch that fills it."""
    runs = [("cpu", 50), ("cpu", 2000)]
    runs += [("gpu", 50), ("gpu", 2000)] if torch.cuda.is_available() else []
    rows = []
    for device, batch_items in runs:
        command = [sys.executable, "-m", "benchmarks.neural_epoch", "--device", device]
        command += ["--batch-items", str(batch_items)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(rows[-1], flush=True)
    return rows


def spread_out(run: Callable[[Any], list[dict[str, Any]]], tasks: list[Any], jobs: int) -> Any:
    """All rows of all tasks, in order, computed in fresh processes."""
    rows = []
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for task, found in zip(tasks, pool.map(run, tasks), strict=True):
            rows += found
            said = ", ".join(f"{r.get('error', r.get('bila', np.nan)):.4g}" for r in found)
            print(task, said, flush=True)
    return rows


def set_tasks(sets: list[str], n_seeds: int, n_large: int) -> list[tuple[str, str, int]]:
    """The part `sets`: a row a set, method and seed."""
    return [
        (name, title, seed)
        for name in sets
        for title, (method, settings) in METHODS.items()
        for seed in range(_seeds(name, method, settings, n_seeds, n_large))
    ]


def _seeds(name: str, method: str, settings: dict[str, Any], n_seeds: int, n_large: int) -> int:
    drawn = AGGREGATORS[method].random or settings.get("start") is hard_majority
    if not drawn:
        return 1
    return n_large if name in LARGE else n_seeds


def main() -> None:
    parts = ("sets", "stopping", "encodings", "stream", "epoch")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--sets", nargs="+", default=[PART_OF_WEB, *SETS])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--large-seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    seeds = range(args.seeds)
    run = partial(spread_out, jobs=args.jobs)
    path = RESULTS / "neural_aggregators.json"
    result: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for name in args.parts:
        head = record(__doc__.strip().splitlines()[0], list(seeds))
        if name == "sets":
            rows = run(scored, set_tasks(args.sets, args.seeds, args.large_seeds))
        elif name == "stopping":
            rows = run(stopped, [(s, rule, n) for s in SMALL for rule in STOPPING for n in seeds])
        elif name == "encodings":
            two = ("bag", "one-hot")
            rows = run(encoded, [(s, e, n) for s in SMALL for e in two for n in seeds])
        elif name == "stream":
            rows = run(streamed, list(seeds))
        else:
            rows = epochs()
        result[name] = head | {"rows": rows}
        write_json(path, result)
    text = markdown(result)
    (RESULTS / "neural_aggregators.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
