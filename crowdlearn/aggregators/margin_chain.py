"""The Gibbs chain of max-margin voting: confusions, scales, weights and truths in turn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator, cg
from scipy.special import logsumexp, softmax

from crowdlearn.aggregators.outcome import clamped
from crowdlearn.inference.gibbs import Drawn, Streams, first_truths
from crowdlearn.predictors.weighted import margin_losses, weighted_votes
from crowdlearn.sweeps.tables import drawn as drawn_table
from crowdlearn.votes import Votes

MOST_DENSE = 2048  # workers whose weights are solved for by Cholesky, more by conjugate gradients
EXACT = 1e-8  # relative residual of the weights' system, by conjugate gradients
SMALL = 1e-9  # least strength times distance from the margin, so that its inverse is finite


class Force(NamedTuple):
    """How hard the weighted vote is held to its margin."""

    strength: float  # c
    margin: float
    weight_variance: float


@dataclass(eq=False)
class MarginChain:
    """One Gibbs chain: truths and weights, and what the next sweep needs."""

    STATE: ClassVar[tuple[str, str]] = ("truth", "weight")

    home: Any
    force: Force
    confusion_count: float
    gold: Int[np.ndarray, " item"]
    item: Int[np.ndarray, " vote"]
    truth: Int[np.ndarray, " item"]
    weight: Float[np.ndarray, " worker"]

    def sweep(self, streams: Streams, tally: np.ndarray, keep: bool) -> Drawn:
        votes, force = self.home.votes, self.force
        sure = np.eye(votes.n_classes)[self.truth]
        extra = np.full((votes.n_classes, votes.n_classes), self.confusion_count)
        counts = self.home.counts(self.home.posterior(sure)).counts
        table = drawn_table(counts, extra, self.home.dtype, streams(0))
        rival, lead = best_rival(votes, self.weight, self.truth)
        rng = streams(2)
        short = np.maximum(force.strength * np.abs(force.margin - lead), SMALL)
        inverse = rng.wald(1 / short, 1.0)
        ahead = (votes.label == self.truth[self.item]) * 1.0 - (votes.label == rival[self.item])
        self.weight = draw_weights(votes, ahead, inverse, self.weight, force, rng)
        evidence = self.evidence(table)
        log_density = float(logsumexp(evidence, axis=1).sum())
        evidence -= 2 * force.strength * margin_losses(votes, self.weight, force.margin)
        posterior = clamped(softmax(evidence, axis=1), self.gold)
        self.truth = first_truths(posterior, streams(1)).argmax(axis=1)
        if keep:
            tally += posterior
        return Drawn(posterior.mean(axis=0), table, log_density, {"weight": self.weight})

    def evidence(self, table: Float[np.ndarray, " cell"]) -> Float[np.ndarray, "item class"]:
        """Log probability of each item's votes under each truth, times the uniform prior."""
        evidence: np.ndarray = self.home.evidence(np.log(table))
        return evidence - math.log(self.home.votes.n_classes)

    def log_likelihood(self, table: Float[np.ndarray, " cell"]) -> float:
        """Of the votes under these confusions, truths summed out."""
        return float(logsumexp(self.evidence(table.astype(self.home.dtype)), axis=1).sum())

    def state(self) -> dict[str, np.ndarray]:
        return {f"chain_{name}": np.array(getattr(self, name)) for name in self.STATE}


def best_rival(
    votes: Votes, weight: Float[np.ndarray, " worker"], truth: Int[np.ndarray, " item"]
) -> tuple[Int[np.ndarray, " item"], Float[np.ndarray, " item"]]:
    """The class other than the truth with most weight on each item, and the truth's lead on it."""
    scores = weighted_votes(votes, weight)
    rows = np.arange(votes.n_items)
    own = scores[rows, truth]
    scores[rows, truth] = -np.inf
    rival = scores.argmax(axis=1)
    return rival, own - scores[rows, rival]


def draw_weights(
    votes: Votes,
    ahead: Float[np.ndarray, " vote"],
    inverse: Float[np.ndarray, " item"],
    weight: Float[np.ndarray, " worker"],
    force: Force,
    rng: np.random.Generator,
) -> Float[np.ndarray, " worker"]:
    """Weights given the votes that put the truth `ahead` (1) or its rival (-1), and the scales.

    With g[i] the row of item i in `ahead` by worker, the weights are Normal with precision
    A = 1 / weight_variance + c^2 sum inverse[i] g[i] g[i]^T and mean A^-1 b, where
    b = c sum (1 + c margin inverse[i]) g[i]. A right side of mean b and covariance A makes the
    solution such a draw.
    """
    c, floor = force.strength, 1 / force.weight_variance
    shape = (votes.n_items, len(weight))
    g = csr_array((ahead, votes.worker, votes.item_offsets), shape=shape)
    scaled = csr_array((ahead * inverse[votes.item], votes.worker, votes.item_offsets), shape=shape)
    across = g.T.tocsr()
    pull = c * (1 + c * force.margin * inverse)
    pull += c * np.sqrt(inverse) * rng.standard_normal(len(inverse))
    right = across @ pull + math.sqrt(floor) * rng.standard_normal(len(weight))
    if len(weight) <= MOST_DENSE:
        precision = c**2 * (across @ scaled).toarray() + floor * np.eye(len(weight))
        return np.asarray(cho_solve(cho_factor(precision), right))
    return _by_conjugate_gradients(across, scaled, c, floor, right, weight)


def _by_conjugate_gradients(
    across: csr_array,
    scaled: csr_array,
    c: float,
    floor: float,
    right: Float[np.ndarray, " worker"],
    start: Float[np.ndarray, " worker"],
) -> Float[np.ndarray, " worker"]:
    """(floor + c^2 across scaled)^-1 right, without the product of the two."""
    diagonal = floor + c**2 * (across * scaled.T).sum(axis=1)
    size = (len(right), len(right))
    matrix = LinearOperator(
        size, matvec=lambda x: floor * x + c**2 * (across @ (scaled @ x)), dtype=np.float64
    )
    scaling = LinearOperator(size, matvec=lambda x: x / diagonal, dtype=np.float64)
    solution, failed = cg(matrix, right, x0=start, rtol=EXACT, M=scaling)
    assert failed == 0, "conjugate gradients did not converge on a positive definite system"
    return np.asarray(solution)
