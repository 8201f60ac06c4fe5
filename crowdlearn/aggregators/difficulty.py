"""The difficulty story behind IDBLA: what its inferences share.

Story       prior ~ Dirichlet(prior_count, ...)
            confusion[w, k] ~ Dirichlet(off_diagonal, ..., diagonal at k, ...)
            easiness[i] ~ Beta(easy, hard)
            guess ~ Dirichlet(guess_count, ...)  [IDBLA], uniform  [Fixed-IDBLA]
            truth[i] ~ Categorical(prior)
            seen[v] ~ Bernoulli(easiness[item[v]])
            label[v] ~ Categorical(confusion[worker[v], truth[item[v]]] if seen[v] else guess)
Paper       Hong (2017), Generative models for learning from crowds, arXiv 1706.03930. The method
            text could not be had: this story is a RECONSTRUCTION from the paper's tables. Several
            variants come as near to them, so what the paper's "Fixed" fixes stays unknown.
            The default priors were chosen near the published numbers on Web and RTE.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from crowdlearn.aggregation import Interval
from crowdlearn.sweeps import Sums, expected_prior
from crowdlearn.sweeps.cuts import CutArray

GuessRule = Callable[[np.ndarray], tuple[np.ndarray, float]]
"""Counts of guessed labels -> (exp E ln guess, divergence from the prior)."""


def learned_guess(guess_count: float) -> GuessRule:
    """The guess distribution is learned, from a Dirichlet prior (IDBLA)."""
    return lambda guessed: expected_prior(guessed, guess_count)


def uniform_guess(
    guessed: Float[np.ndarray, " label"],
) -> tuple[Float[np.ndarray, " label"], float]:
    """Guesses are uniform, whatever the votes say (Fixed-IDBLA)."""
    return np.full(len(guessed), 1 / len(guessed)), 0.0


def first_sums(home: Any, posterior: Any, easiness: float) -> tuple[Sums, Any]:
    """Sums and seen votes of a first posterior, every vote seen with probability `easiness`."""
    sums = home.counts(posterior)
    first = Sums(
        counts=sums.counts * easiness,
        totals=sums.totals,
        bound=sums.bound,
        guessed=(1 - easiness) * home.label_counts(),
    )
    return first, easiness * home.votes_per_item


def mean_easiness(seen: Any, home: Any, beta: tuple[float, float]) -> Any:
    """Posterior mean easiness of every item."""
    return (beta[0] + seen) / (sum(beta) + home.votes_per_item)


def with_guesses(
    confusion: Float[np.ndarray, "worker class class"] | CutArray,
    accuracy: Interval,
    prior: Float[np.ndarray, " class"],
    guess: Float[np.ndarray, " label"],
    easiness: float,
) -> tuple[Float[np.ndarray, "worker class class"] | CutArray, Interval]:
    """Confusions and accuracies of votes on an item of this easiness, guesses included."""
    lucky = (1 - easiness) * float(prior @ guess)

    def mixed(rows: np.ndarray) -> np.ndarray:
        return easiness * rows + (1 - easiness) * guess

    mean = confusion.mapped(mixed) if isinstance(confusion, CutArray) else mixed(confusion)
    return mean, Interval(
        mean=easiness * accuracy.mean + lucky,
        low=easiness * accuracy.low + lucky,
        high=easiness * accuracy.high + lucky,
        level=accuracy.level,
    )
