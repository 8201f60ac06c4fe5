"""BiLA on the stream of its published run, regenerated: 50,000 items, 10 workers, 10 classes.

The published label file could not be had. Its worker accuracies, its two modes of wrong labels and
its alternating gaps (even workers in the first half, odd ones in the second) were read from samples
of it. Protocol as released: 20 epochs on the first 1,000 items, then chunks of 500 from the start,
20 epochs on each; a chunk's answers are those given right after its own training.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from jaxtyping import Int

from crowdlearn.aggregators import aggregator
from crowdlearn.evaluation import error
from crowdlearn.neural.bila import bila_model
from crowdlearn.neural.trainer import Trainer
from crowdlearn.simulate import bila_bimodal
from crowdlearn.simulate.world import World
from crowdlearn.votes import Votes

N_ITEMS, N_FIRST, CHUNK = 50_000, 1_000, 500
ACCURACY = np.array([0.505, 0.535, 0.395, 0.375, 0.575, 0.285, 0.635, 0.285, 0.515, 0.495])
GAPS = 0.2
PUBLISHED = {"majority": 24.740, "bila": 13.668, "bila_at_half": 15.856}


def alternating(
    rng: np.random.Generator, n_items: int, n_workers: int
) -> tuple[Int[np.ndarray, " vote"], Int[np.ndarray, " vote"]]:
    """Everyone judges everything, but even workers, then odd ones, skip a fifth."""
    late = np.arange(n_items)[:, None] >= n_items // 2
    odd = np.arange(n_workers)[None, :] % 2 == 1
    there = ~((late == odd) & (rng.random((n_items, n_workers)) < GAPS))
    item, worker = np.nonzero(there)
    return item.astype(np.int32), worker.astype(np.int32)


def world(seed: int, n_items: int = N_ITEMS) -> World:
    """The regenerated crowd; classes are balanced, as in CIFAR-10."""
    truth = np.random.default_rng(seed).permutation(np.arange(n_items) % 10)
    return bila_bimodal(
        n_items, 10, 10, noise=(1 - ACCURACY) / 0.9, truth=truth, assign=alternating, seed=seed
    )


def part(votes: Votes, first: int, last: int) -> Votes:
    """The items from `first` to before `last`; workers as they are."""
    at = votes.item_offsets[first : last + 1]
    return Votes(
        items=votes.items.slice(first, last - first),
        workers=votes.workers,
        classes=votes.classes,
        item_offsets=at - at[0],
        worker=votes.worker[at[0] : at[-1]],
        label=votes.label[at[0] : at[-1]],
    )


def run(seed: int, n_items: int = N_ITEMS) -> dict[str, Any]:
    """Errors in per cent of what was answered on the way, by BiLA and by the majority."""
    crowd = world(seed, n_items)
    votes, truth = crowd.votes, crowd.truth
    free = np.full(N_FIRST, -1)
    start = time.perf_counter()
    method = aggregator("bila", seed=seed, device="cpu")
    first = part(votes, 0, N_FIRST)
    trainer = Trainer(method, bila_model(method, first, free))
    trainer.update(first, free, method.n_epochs)
    wrong = np.zeros(n_items // CHUNK)
    for number in range(len(wrong)):
        here = slice(number * CHUNK, (number + 1) * CHUNK)
        chunk = part(votes, here.start, here.stop)
        fitted = trainer.update(chunk, free[:CHUNK], method.n_epochs)
        wrong[number] = error(fitted.predictor.predict(chunk), truth[here])
    seconds = time.perf_counter() - start
    whole = {
        name: 100 * error(aggregator(name).fit(votes).posterior, truth)
        for name in ("majority", "dawid-skene", "bcc")
    }
    return {
        "seed": seed,
        "bila": 100 * float(wrong.mean()),
        "bila_at_half": 100 * float(wrong[: len(wrong) // 2].mean()),
        "seconds": seconds,
        **whole,
    }
