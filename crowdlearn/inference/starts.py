"""Where a fit starts: a first posterior from the votes. Functions, to be passed as `start=`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from crowdlearn.votes import Votes

Start = Callable[[Votes, np.random.Generator], np.ndarray]
"""(votes, rng) -> (item, class) rows that sum to one."""


def soft_majority(votes: Votes, rng: np.random.Generator) -> Float[np.ndarray, "item class"]:
    """Each class gets its share of the item's votes."""
    return votes.shares()


def hard_majority(votes: Votes, rng: np.random.Generator) -> Float[np.ndarray, "item class"]:
    """All on the class with most votes; ties, and items without votes, drawn uniformly."""
    counts = votes.counts()
    winner = np.argmax(counts + rng.random(counts.shape) * 0.5, axis=1)
    return np.eye(votes.n_classes)[winner]


def random_dirichlet(votes: Votes, rng: np.random.Generator) -> Float[np.ndarray, "item class"]:
    """Rows from a flat Dirichlet, blind to the votes: for showing why the start matters."""
    return rng.dirichlet(np.ones(votes.n_classes), size=votes.n_items)


STARTS: dict[str, Start] = {
    "soft-majority": soft_majority,
    "hard-majority": hard_majority,
    "random": random_dirichlet,
}
