"""How much are an item's votes worth together? Learned by predicting votes that were left out.

Model       An item's votes share causes that no confusion matrix knows of, so `m` of them are worth
            m / (1 + (m - 1) * correlation) independent ones (the design effect of a cluster sample,
            Kish 1965). The log evidence of the votes is divided by the denominator; the log prior
            is multiplied by `power`.
Learning    Both numbers maximise the mean log probability of votes on items that a resample left
            out, each vote predicted from the item's other votes, averaged over resamples first. No
            truth enters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from crowdlearn.predictors.base import tempered
from crowdlearn.votes import Votes

POWERS = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
CORRELATIONS = np.array([0, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.65, 0.8, 1])
MOST_VOTES = 20_000  # predicted; more would not move the answer


@dataclass(frozen=True)
class Tempering:
    """Weight of the prior, and correlation of an item's votes; both in [0, 1]."""

    power: float = 1.0
    correlation: float = 0.0


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Running predictions of a sample of the votes, under every tempering of the grid."""

    sample: Int[np.ndarray, " predicted"]  # positions of votes
    sums: Float[np.ndarray, "power correlation predicted"]
    times: Int[np.ndarray, " predicted"]

    @classmethod
    def of(cls, votes: Votes, gold: Int[np.ndarray, " item"], rng: np.random.Generator) -> HeldOut:
        """A sample of the votes that have another vote beside them on an item without gold."""
        item = votes.item
        usable = np.flatnonzero((votes.votes_per_item[item] > 1) & (gold[item] < 0))
        sample = np.sort(rng.permutation(usable)[:MOST_VOTES])
        sums = np.zeros((len(POWERS), len(CORRELATIONS), len(sample)))
        return cls(sample, sums, np.zeros(len(sample), dtype=np.int64))

    def add(
        self,
        votes: Votes,
        left_out: np.ndarray,
        prior: Float[np.ndarray, " class"],
        likelihood: Float[np.ndarray, "worker label class"],
        evidence: Float[np.ndarray, "item class"],
    ) -> None:
        """Predict the sampled votes on the `left_out` items (boolean) from their other votes."""
        item = votes.item[self.sample]
        here = np.flatnonzero(left_out[item])
        vote, item = self.sample[here], item[here]
        own = likelihood[votes.worker[vote], votes.label[vote]]
        others = evidence[item] - np.log(own)
        n_others = votes.votes_per_item[item] - 1
        log_prior = np.log(prior)
        for p, power in enumerate(POWERS):
            for c, correlation in enumerate(CORRELATIONS):
                belief = tempered(log_prior, others, n_others, float(power), float(correlation))
                self.sums[p, c, here] += (belief * own).sum(axis=1)
        self.times[here] += 1

    def best(self) -> Tempering:
        """The tempering that predicts best; none at all where no vote was predicted."""
        seen = self.times > 0
        if not seen.any():
            return Tempering()
        score = np.log(self.sums[:, :, seen] / self.times[seen]).mean(axis=2)
        p = int(score.max(axis=1).argmax())
        return Tempering(float(POWERS[p]), _peak(score[p]))


def _peak(score: Float[np.ndarray, " correlation"]) -> float:
    """Where the parabola through the best grid point and its neighbours peaks, in square roots."""
    at = int(score.argmax())
    if not 0 < at < len(score) - 1:
        return float(CORRELATIONS[at])
    roots = np.sqrt(CORRELATIONS[at - 1 : at + 2])
    curve, slope, _ = np.polyfit(roots, score[at - 1 : at + 2], 2)
    return float(np.clip(-slope / (2 * curve), roots[0], roots[2])) ** 2
