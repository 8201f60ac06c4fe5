"""Votes added up by the weight of their workers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from crowdlearn.predictors.base import TINY, softmax, sum_by_item
from crowdlearn.votes import Votes


@dataclass(frozen=True, eq=False)
class SharePredictor:
    """posterior(class) is its share of the votes, each weighing `weight[worker]` >= 0."""

    weight: Float[np.ndarray, " worker"]

    def predict(self, votes: Votes) -> Float[np.ndarray, "item class"]:
        cells = votes.item.astype(np.int64) * votes.n_classes + votes.label
        flat = np.bincount(cells, self.weight[votes.worker], votes.n_items * votes.n_classes)
        sums = flat.reshape(votes.n_items, votes.n_classes)
        totals = sums.sum(axis=1, keepdims=True)
        return np.where(totals > 0, sums / np.maximum(totals, TINY), votes.shares())


@dataclass(frozen=True, eq=False)
class MarginPredictor:
    """posterior(class) ~ product of likelihoods * exp(-2 strength * loss of the weighted vote)."""

    likelihood: Float[np.ndarray, "worker label class"]
    weight: Float[np.ndarray, " worker"]
    strength: Float[np.ndarray, " 1"]
    margin: Float[np.ndarray, " 1"]

    def predict(self, votes: Votes) -> Float[np.ndarray, "item class"]:
        log_vote = np.log(np.maximum(self.likelihood[votes.worker, votes.label], TINY))
        losses = margin_losses(votes, self.weight, float(self.margin[0]))
        return softmax(sum_by_item(log_vote, votes) - 2 * self.strength * losses)


def weighted_votes(
    votes: Votes, weight: Float[np.ndarray, " worker"]
) -> Float[np.ndarray, "item class"]:
    """Sum of the weights of the workers who voted for each class."""
    cells = votes.item.astype(np.int64) * votes.n_classes + votes.label
    flat = np.bincount(cells, weight[votes.worker], votes.n_items * votes.n_classes)
    return flat.reshape(votes.n_items, votes.n_classes)


def margin_losses(
    votes: Votes, weight: Float[np.ndarray, " worker"], margin: float
) -> Float[np.ndarray, "item class"]:
    """By how much each class falls short of leading every other by `margin`; at least 0."""
    scores = weighted_votes(votes, weight)
    second, first = np.partition(scores, -2, axis=1)[:, -2:].T
    best_other = np.where(
        np.arange(votes.n_classes) == scores.argmax(axis=1)[:, None],
        second[:, None],
        first[:, None],
    )
    return np.maximum(margin - scores + best_other, 0)
