"""What a method does with arrays of items beside the passes, where they all are at hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int32

from crowdlearn.sweeps.tables import error_table
from crowdlearn.votes import Votes


class ItemsAtHand:
    """Arrays with an entry for each item or vote, as NumPy arrays; a base of sweepers.

    `ShardedSweeper` has the same methods for arrays that are nowhere in one place.
    """

    votes: Votes
    gold: Int32[np.ndarray, " item"]

    @property
    def votes_per_item(self) -> Float[np.ndarray, " item"]:
        """How many votes each item has."""
        return self.votes.votes_per_item.astype(np.float64)

    def start(self, start: Any, rng: np.random.Generator, n_subtypes: int = 1) -> Any:
        """A first posterior: that of `start`, gold items on their class, cut into subtypes."""
        first = clamped(start(self.votes, rng), self.gold)
        return self.posterior(first if n_subtypes == 1 else split_classes(first, n_subtypes, rng))

    def first_truths(self, start: Any, rng: np.random.Generator) -> Any:
        """One truth an item drawn from a first posterior, as one-hot rows: where a chain starts."""
        return self.posterior(first_truths(clamped(start(self.votes, rng), self.gold), rng))

    def tally(self) -> Float[np.ndarray, "item class"]:
        """Zeros for each item and class."""
        return np.zeros((self.votes.n_items, self.votes.n_classes))

    def per_vote(self, value: float) -> Float[np.ndarray, " vote"]:
        """One number for each vote."""
        return np.full(self.votes.n_votes, value)

    def uniform(self, rng: np.random.Generator, of: str = "item") -> Float[np.ndarray, " entry"]:
        """Numbers in [0, 1) for each item or vote."""
        return rng.random(self.votes.n_items if of == "item" else self.votes.n_votes)

    def beta(self, rng: np.random.Generator, a: Any, b: Any) -> Float[np.ndarray, " item"]:
        """A draw from Beta(a, b) for each item."""
        return rng.beta(a, b)

    def by_class(
        self, posterior: Float[np.ndarray, "item state"]
    ) -> Float[np.ndarray, "item class"]:
        """The posterior of the classes: states of a class, which stand together, added up."""
        return posterior.reshape(len(posterior), self.votes.n_classes, -1).sum(axis=2)

    def error_table(self, ability: Float[np.ndarray, " worker"]) -> Float[np.ndarray, " cell"]:
        """The flat table of workers who err anywhere alike, as `product` takes it."""
        return error_table(ability, self.votes.n_classes).astype(self.dtype)

    def label_counts(self) -> Float[np.ndarray, " label"]:
        """How many votes say each label."""
        return np.bincount(self.votes.label, minlength=self.votes.n_classes).astype(np.float64)

    def share_totals(self) -> Float[np.ndarray, " class"]:
        """Each class's share of an item's votes, summed over items."""
        return self.votes.shares().sum(axis=0)

    @property
    def dtype(self) -> Any:
        """Of tables and posteriors."""
        raise NotImplementedError

    def posterior(self, start: np.ndarray | None = None) -> Any:
        """A posterior of this home: a copy of `start`, or zeros."""
        raise NotImplementedError


def clamped(
    posterior: Float[np.ndarray, "item class"], gold: Int32[np.ndarray, " item"]
) -> Float[np.ndarray, "item class"]:
    """The posterior with gold items put on their class (itself, where there are none)."""
    known = np.flatnonzero(gold >= 0)
    if len(known) == 0:
        return posterior
    copy = posterior.copy()
    copy[known] = np.eye(posterior.shape[1])[gold[known]]
    return copy


def first_truths(
    posterior: Float[np.ndarray, "item class"], rng: np.random.Generator
) -> Float[np.ndarray, "item class"]:
    """One truth per item drawn from `posterior`, as one-hot rows."""
    cumulative = posterior.cumsum(axis=1)
    draw = rng.random(len(posterior)) * cumulative[:, -1]
    truth = (draw[:, None] >= cumulative).sum(axis=1)
    return np.eye(posterior.shape[1])[np.minimum(truth, posterior.shape[1] - 1)]


def split_classes(
    posterior: Float[np.ndarray, "item class"], n_subtypes: int, rng: np.random.Generator
) -> Float[np.ndarray, "item state"]:
    """Each item's class probabilities cut into subtypes by one flat Dirichlet draw per item."""
    cut = rng.dirichlet(np.ones(n_subtypes), size=len(posterior))
    return (posterior[:, :, None] * cut[:, None, :]).reshape(len(posterior), -1)
