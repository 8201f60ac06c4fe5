"""A world in which workers are variations of one typical worker.

Story       typical[k, c] ~ Normal(ease if k = c else 0, between_classes)
            score[w, k, c] ~ Normal(typical[k, c], between_workers)
            confusion[w, k] = softmax(score[w, k]); votes as Dawid and Skene have them
Paper       Paun et al. (2018), "Comparing Bayesian models of annotation", HierD&S.
Departures  The spreads are given, and the same for all cells; the paper draws one for each.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float
from scipy.special import softmax

from crowdlearn.errors import SettingsError
from crowdlearn.simulate.dawid_skene import FIVE_VOTES, given_workers, worker_stream
from crowdlearn.simulate.world import Assign, World, check_sizes


def hierarchical(
    n_items: int = 1000,
    n_workers: int = 50,
    n_classes: int = 3,
    *,
    ease: float = 2.0,
    between_classes: float = 0.5,
    between_workers: float = 0.7,
    prior: Float[np.ndarray, " class"] | None = None,
    assign: Assign = FIVE_VOTES,
    seed: int = 0,
) -> World:
    """Confusion rows scatter around those of `World.population`; spreads are in log odds."""
    check_sizes(n_items, n_workers, n_classes)
    if between_classes < 0 or between_workers < 0:
        raise SettingsError(
            f"between_classes is {between_classes} and between_workers {between_workers}: "
            "spreads are not negative"
        )
    rng = worker_stream(seed)
    typical = rng.normal(ease * np.eye(n_classes), between_classes)
    score = rng.normal(typical, between_workers, (n_workers, n_classes, n_classes))
    confusion = softmax(score, axis=2)
    world = given_workers(confusion, prior, n_items=n_items, assign=assign, seed=seed)
    return replace(world, population=softmax(typical, axis=1))
