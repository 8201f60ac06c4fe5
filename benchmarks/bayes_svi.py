"""Minibatch SVI of a big BCC beside its full variational Bayes: how right, and what an epoch costs.

    python -m benchmarks.bayes_svi --votes 1000000 --classes 10

The votes are those of `synthetic`, whose truth is known. Both invert the BCC with the same priors,
on one core: `bcc` until no posterior probability changes by more than 0.001, SVI for `EPOCHS`
epochs of `BATCHES` batches of items, its truths summed out, with a normal guide. An epoch sees
every vote once, as a sweep does. Both costs are medians, after what compiles.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from typing import Any

import numpy as np

from benchmarks.bayes_ess import BCC
from benchmarks.sweep_cost import Clock
from benchmarks.synthetic import VOTES_A_WORKER, VOTES_AN_ITEM
from crowdlearn.aggregation import Aggregation
from crowdlearn.aggregators import aggregator
from crowdlearn.aggregators.engines import Svi
from crowdlearn.evaluation import error, log_loss
from crowdlearn.simulate import World, dawid_skene, fixed_per_item, given_workers

EPOCHS = 120  # by then the bound has settled at both sizes
BATCHES = 5  # an epoch; the cost of a step beside its votes, that of Adam, is small then
N_DRAWS = 30  # from the guide; item posteriors are means over them
BAR_LOSS, BAR_EPOCH = 1.02, 3.0  # times the loss of VB; sweeps of VB


def world_of(n_votes: int, n_classes: int, seed: int = 0) -> World:
    """The first part of the votes that `synthetic.write` makes, with their truth."""
    n_items, n_workers = n_votes // VOTES_AN_ITEM, max(n_votes // VOTES_A_WORKER, VOTES_AN_ITEM)
    workers = dawid_skene(1, n_workers, n_classes, seed=seed).confusion
    assign = fixed_per_item(VOTES_AN_ITEM)
    return given_workers(workers, n_items=n_items, assign=assign, seed=seed + 1)


def timed(method: Any, world: World, most: int) -> tuple[Aggregation, dict[str, Any]]:
    """A fit, its scores, and CPU seconds of the median sweep or epoch."""
    clock, start = Clock(most), time.process_time()
    fit = method.fit(world.votes, on_sweep=clock)
    steps = np.diff([cpu for cpu, _ in clock.stamps])
    return fit, {
        "log_loss": log_loss(fit.posterior, world.truth),
        "error": error(fit.posterior, world.truth),
        "cpu_seconds_each": float(np.median(steps)),
        "n": len(clock.stamps),
        "cpu_seconds": time.process_time() - start,
        "warnings": list(fit.warnings),
    }


def measure(n_votes: int, n_classes: int) -> dict[str, Any]:
    """Both methods in this process, on one core."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    warnings.simplefilter("ignore")
    world = world_of(n_votes, n_classes)
    aggregator("bcc", **BCC, n_threads=1).fit(world.votes, on_sweep=Clock(1))
    exact, vb = timed(aggregator("bcc", **BCC, n_threads=1, tolerance=1e-3), world, 10**9)
    batch_items = world.votes.n_items // BATCHES
    engine = Svi(batch_items=batch_items, n_steps=EPOCHS * BATCHES, n_draws=N_DRAWS)
    method = aggregator("bayes", story="bcc", parameters=BCC, inference=engine, n_threads=1)
    approximate, svi = timed(method, world, 10**9)
    return {
        "votes": n_votes,
        "classes": n_classes,
        "batch_items": batch_items,
        "epochs": EPOCHS,
        "vb": vb,
        "svi": svi,
        "loss_ratio": svi["log_loss"] / vb["log_loss"],
        "epoch_in_sweeps": svi["cpu_seconds_each"] / vb["cpu_seconds_each"],
        "largest_difference": float(np.abs(exact.posterior - approximate.posterior).max()),
        "mean_difference": float(np.abs(exact.posterior - approximate.posterior).mean()),
    }


def markdown(results: list[dict[str, Any]]) -> str:
    """One row a world."""
    lines = [
        "| votes | classes | log loss, VB | log loss, SVI | ratio (bar 1.02) | CPU s a sweep of VB "
        "| CPU s an epoch of SVI | ratio (bar 3) | sweeps, epochs | CPU s in all, VB, SVI |",
        "|---" * 10 + "|",
    ]
    for r in results:
        vb, svi = r["vb"], r["svi"]
        lines.append(
            f"| {r['votes']:,} | {r['classes']} | {vb['log_loss']:.4f} | {svi['log_loss']:.4f} "
            f"| {r['loss_ratio']:.3f} | {vb['cpu_seconds_each']:.3g} "
            f"| {svi['cpu_seconds_each']:.3g} | {r['epoch_in_sweeps']:.2f} "
            f"| {vb['n']}, {svi['n']} | {vb['cpu_seconds']:.1f}, {svi['cpu_seconds']:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--votes", type=int, default=10**6)
    parser.add_argument("--classes", type=int, default=10)
    args = parser.parse_args()
    print(json.dumps(measure(args.votes, args.classes)))


if __name__ == "__main__":
    main()
