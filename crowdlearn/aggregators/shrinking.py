"""Confusions that lean on each other: rows of few votes are drawn to the population's row.

Story       confusion[w, k] ~ Dirichlet(strength * mean[k])
Inference   Given (expected) counts: `mean` from all workers together, `strength` at its most likely
            value, rows at their posterior means.
Source      The fixed point of Minka (2000), Estimating a Dirichlet distribution.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import digamma

from crowdlearn.aggregation import Interval
from crowdlearn.aggregators.outcome import beta_interval, by_truth
from crowdlearn.votes import Votes

STRENGTHS = (0.5, 300.0)  # range of the strength: beyond it nothing changes
STEPS = 4  # towards the most likely strength, in every sweep
SETTLED = 40  # steps that end at it


def shrunken(
    counts: Float[np.ndarray, "worker label class"], strength: float, n_steps: int = STEPS
) -> tuple[Float[np.ndarray, "worker label class"], float]:
    """Posterior means of the confusions, and the strength after `n_steps` from the one given.

    `mean` is the population's confusion, with one vote's worth of doubt a cell.
    """
    mean = (counts.sum(axis=0) + 1) / (counts.sum(axis=0) + 1).sum(axis=0)
    total = counts.sum(axis=1)
    for _ in range(n_steps):
        alpha = strength * mean
        gain = (mean * (digamma(counts + alpha) - digamma(alpha))).sum()
        loss = (digamma(total + strength) - digamma(strength)).sum()
        strength = float(np.clip(strength * gain / max(loss, 1e-12), *STRENGTHS))
    return (counts + strength * mean) / (total + strength)[:, None], strength


def first_strength(n_classes: int) -> float:
    """Where the search for the strength starts: two votes a class."""
    return 2.0 * n_classes


def counted(
    home: Any, votes: Votes, weight: Float[np.ndarray, "item class"]
) -> Float[np.ndarray, "worker label class"]:
    """How often each worker gave each label to items of each class, items weighing `weight`."""
    shape = (votes.n_workers, votes.n_classes, votes.n_classes)
    return np.array(home.counts(home.posterior(weight)).counts, np.float64).reshape(shape)


def workers_against(
    home: Any,
    votes: Votes,
    posterior: Float[np.ndarray, "item class"],
    variants: list[Float[np.ndarray, "item class"]],
) -> tuple[Float[np.ndarray, "worker class class"], Interval]:
    """Confusions and accuracies counted against `posterior`.

    The intervals hold both the doubt of the rows and the spread of the accuracies over `variants`,
    other posteriors that are as good.
    """
    prior = posterior.mean(axis=0)
    table, mean, variance = _accuracies(counted(home, votes, posterior), prior)
    means = [_accuracies(counted(home, votes, one), prior)[1] for one in variants]
    interval = beta_interval(mean, variance + np.var(means, axis=0))
    return by_truth(table.ravel(), votes), interval


def _accuracies(
    counts: Float[np.ndarray, "worker label class"], prior: Float[np.ndarray, " class"]
) -> tuple[np.ndarray, Float[np.ndarray, " worker"], Float[np.ndarray, " worker"]]:
    table, strength = shrunken(counts, first_strength(len(prior)), SETTLED)
    right = np.einsum("wkk->wk", table)
    variance = right * (1 - right) / (counts.sum(axis=1) + strength + 1)
    return table, right @ prior, variance @ prior**2
