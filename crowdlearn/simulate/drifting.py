"""A world in which workers get better or worse while the items come in.

Story       items arrive in the order of their codes, from time 0 to time 1
            accuracy_path[0, w] ~ Uniform(accuracy), then a random walk of the log odds over moments
            accuracy of a vote: the path at the item's time, linear between moments; errors uniform
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int32
from scipy.special import expit, logit

from crowdlearn.errors import SettingsError
from crowdlearn.simulate.dawid_skene import FIVE_VOTES, coin_confusion, given_workers
from crowdlearn.simulate.world import Assign, World, check_sizes, make_votes, streams


def drifting(
    n_items: int = 1000,
    n_workers: int = 50,
    n_classes: int = 3,
    *,
    step: float = 0.8,
    n_moments: int = 5,
    accuracy: tuple[float, float] = (0.5, 0.95),
    prior: Float[np.ndarray, " class"] | None = None,
    assign: Assign = FIVE_VOTES,
    seed: int = 0,
) -> World:
    """Accuracies whose log odds move by Normal(0, step) from moment to moment.

    Moments are evenly spaced, the first at the first item and the last at the last.
    `World.confusion` is the average over time. `step` 0 is a one-coin world.
    """
    check_sizes(n_items, n_workers, n_classes)
    if step < 0 or n_moments < 2:
        raise SettingsError(
            f"step is {step} and n_moments is {n_moments}: at least 0 and 2 are needed"
        )
    if not 0 < accuracy[0] <= accuracy[1] < 1:
        raise SettingsError(f"accuracy is {accuracy}: both must be inside (0, 1), the lower first")
    _, _, _, for_workers, for_votes = streams(seed, 5)
    start = logit(for_workers.uniform(*accuracy, n_workers))
    walk = np.cumsum(for_workers.normal(0, step, (n_moments - 1, n_workers)), axis=0)
    path = expit(np.vstack([start, start + walk]))

    average = (path[1:] + path[:-1]).mean(axis=0) / 2
    confusion = coin_confusion(average, n_classes)
    world = given_workers(confusion, prior, n_items=n_items, assign=assign, seed=seed)
    item, worker = world.votes.item, world.votes.worker
    right = for_votes.random(len(item)) < _accuracy_at(path, item / max(n_items - 1, 1), worker)
    others = for_votes.integers(1, n_classes, len(item), dtype=np.int32)
    label = (world.truth[item] + np.where(right, np.int32(0), others)) % np.int32(n_classes)
    votes = make_votes(item, worker, label, n_items, confusion)
    return replace(world, votes=votes, accuracy_path=path)


def _accuracy_at(
    path: Float[np.ndarray, "moment worker"],
    time: Float[np.ndarray, " vote"],
    worker: Int32[np.ndarray, " vote"],
) -> Float[np.ndarray, " vote"]:
    """The path of each vote's worker at the vote's time in [0, 1], linear between moments."""
    place = time * (len(path) - 1)
    before = np.minimum(place.astype(np.int64), len(path) - 2)
    part = place - before
    return (1 - part) * path[before, worker] + part * path[before + 1, worker]
