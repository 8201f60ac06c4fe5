"""What does the story expect before it has seen a vote? Draws from its prior, in plain numbers.

A prior that says workers are right 95 times in 100, or that all items are of one class, is better
seen before the fit than after. Who judges what is taken from the votes at hand; what they said is
not looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from crowdlearn.criticism.statistics import agreement
from crowdlearn.errors import SettingsError
from crowdlearn.inference.replicate import Sites, draw_worlds
from crowdlearn.models.data import vote_data
from crowdlearn.models.reading import Story
from crowdlearn.votes import Votes


@dataclass(frozen=True, eq=False)
class PriorPredictive:
    """Draws from the prior of a story: one set of parameters, truths and labels a draw."""

    votes: Votes  # who judges what; the labels played no part
    truth: Int[np.ndarray, "draw item"]
    label: Int[np.ndarray, "draw vote"]
    worker_accuracy: Float[np.ndarray, "draw worker"]  # chance that a vote of its is right
    class_share: Float[np.ndarray, "draw class"]  # of the truths
    agreement: Float[np.ndarray, " draw"]  # share of equal labels of two votes on an item
    sites: Sites  # the parameters, (draw, ...)

    def to_table(self) -> pa.Table:
        """One row a quantity: quantity, mean, low and high (90 % interval), over draws.

        `accuracy of a worker` is over draws and workers, `spread between workers` the standard
        deviation of accuracy within a draw; `largest class` is the share of the commonest truth.
        """
        rows = {
            "accuracy of a worker": self.worker_accuracy.ravel(),
            "spread between workers": np.nanstd(self.worker_accuracy, axis=1),
            "share of workers no better than chance": np.mean(
                self.worker_accuracy <= 1 / self.votes.n_classes, axis=1
            ),
            "largest class": self.class_share.max(axis=1),
            "smallest class": self.class_share.min(axis=1),
            "agreement of two votes": self.agreement,
        }
        low, high = zip(*(np.nanquantile(v, [0.05, 0.95]) for v in rows.values()), strict=True)
        return pa.table(
            {
                "quantity": list(rows),
                "mean": [float(np.nanmean(values)) for values in rows.values()],
                "low": np.array(low),
                "high": np.array(high),
            }
        )


def prior_predictive(
    story: Story, votes: Votes, *, n_draws: int = 200, seed: int = 0
) -> PriorPredictive:
    """Draw parameters, truths and labels `n_draws` times.

    Accuracy of a worker without votes is nan. Raises SettingsError for no draws.
    """
    if n_draws < 1:
        raise SettingsError(f"n_draws must be at least 1, not {n_draws}")
    sites, truth, label, right = draw_worlds(story, vote_data(votes), n_draws, seed)
    n = votes.votes_per_worker
    with np.errstate(invalid="ignore"):
        accuracy = np.stack([np.bincount(votes.worker, r, votes.n_workers) / n for r in right])
    classes = range(votes.n_classes)
    measure = agreement(votes).of if votes.votes_per_item.max() > 1 else None
    return PriorPredictive(
        votes=votes,
        truth=truth,
        label=label,
        worker_accuracy=accuracy,
        class_share=np.stack([(truth == k).mean(axis=1) for k in classes], axis=1),
        agreement=np.array([measure(row)[0] if measure else np.nan for row in label]),
        sites=sites,
    )
