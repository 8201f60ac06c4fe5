"""What every predictor promises, and the two steps that most are made of."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from crowdlearn.votes import Votes

TINY = 1e-30


@runtime_checkable
class Predictor(Protocol):
    def predict(self, votes: Votes) -> Float[np.ndarray, "item class"]:
        """Class posterior of every item; the prior (or uniform) for an item without votes."""
        ...


def sum_by_item(values: np.ndarray, votes: Votes) -> np.ndarray:
    """Sum (vote, state) rows over the votes of each item; zero for an item without votes."""
    sums = np.zeros((votes.n_items, values.shape[1]))
    voted = votes.votes_per_item > 0
    if len(values):
        sums[voted] = np.add.reduceat(values, votes.item_offsets[:-1][voted], axis=0)
    return sums


def softmax(evidence: np.ndarray) -> np.ndarray:
    shifted = np.exp(evidence - evidence.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def tempered(
    log_prior: Float[np.ndarray, " class"],
    evidence: Float[np.ndarray, "item class"],
    n_votes: Int[np.ndarray, " item"],
    power: float,
    correlation: float,
) -> Float[np.ndarray, "item class"]:
    """Class posterior where `m` votes are worth m / (1 + (m - 1) * correlation) independent ones.

    `evidence` is the log likelihood of an item's votes in nats; the log prior counts `power` times.
    """
    worth = 1 / (1 + np.maximum(n_votes - 1, 0) * correlation)
    return softmax(power * log_prior + worth[:, None] * evidence)
