"""Votes that are probabilities themselves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from crowdlearn.predictors.base import TINY, softmax, sum_by_item
from crowdlearn.soft_votes import opinions_of
from crowdlearn.votes import Votes


@dataclass(frozen=True, eq=False)
class SoftPredictor:
    """A vote's factor is the mean of the worker's likelihoods under its probabilities, tempered.

    Plain votes are read as sure of their label.
    """

    prior: Float[np.ndarray, " class"]
    likelihood: Float[np.ndarray, "worker label class"]
    sharpness: Float[np.ndarray, " worker"]

    def predict(self, votes: Votes) -> Float[np.ndarray, "item class"]:
        opinion = sharpened(opinions_of(votes), self.sharpness[votes.worker])
        said = np.einsum("vc,vck->vk", opinion, self.likelihood[votes.worker])
        log_vote = np.log(np.maximum(said, TINY))
        return softmax(np.log(np.maximum(self.prior, TINY)) + sum_by_item(log_vote, votes))


def sharpened(
    opinion: Float[np.ndarray, "vote class"], power: Float[np.ndarray, " vote"]
) -> Float[np.ndarray, "vote class"]:
    """Every row to its power, scaled to sum to one; what is impossible stays so."""
    possible = opinion > 0
    logs = np.log(np.where(possible, opinion, 1.0)) * power[:, None]
    return softmax(np.where(possible, logs, -np.inf))
