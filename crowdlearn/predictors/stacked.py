"""The weighted mean of what several methods read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from crowdlearn.predictors.base import TINY, Predictor, tempered
from crowdlearn.votes import Votes


@dataclass(frozen=True, eq=False)
class StackedPredictor:
    """The weighted mean of what several methods read, an item's votes discounted in each.

    What a method says beyond its prior is divided by 1 + (m - 1) * correlation for `m` votes.
    """

    parts: tuple[Predictor, ...]
    prior: Float[np.ndarray, "part class"]
    weight: Float[np.ndarray, " part"]
    power: Float[np.ndarray, " part"]
    correlation: Float[np.ndarray, " part"]

    def predict(self, votes: Votes) -> Float[np.ndarray, "item class"]:
        return np.tensordot(self.weight, np.stack(self.read(votes)), 1)

    def read(self, votes: Votes) -> list[Float[np.ndarray, "item class"]]:
        """What each part says, discounted."""
        said = [part.predict(votes) for part in self.parts]
        return [self.read_part(number, one, votes) for number, one in enumerate(said)]

    def read_part(
        self, number: int, posterior: Float[np.ndarray, "item class"], votes: Votes
    ) -> Float[np.ndarray, "item class"]:
        """What part `number` says, given its posterior of the items of `votes`."""
        return discounted(
            posterior,
            self.prior[number],
            float(self.power[number]),
            float(self.correlation[number]),
            votes.votes_per_item,
        )


def discounted(
    posterior: Float[np.ndarray, "item class"],
    prior: Float[np.ndarray, " class"],
    power: float,
    correlation: float,
    n_votes: Int[np.ndarray, " item"],
) -> Float[np.ndarray, "item class"]:
    """A posterior as it would be if `m` votes were worth m / (1 + (m - 1) * correlation)."""
    log_prior = np.log(np.maximum(prior, TINY))
    evidence = np.log(np.maximum(posterior, TINY)) - log_prior
    return tempered(log_prior, evidence, n_votes, power, correlation)
