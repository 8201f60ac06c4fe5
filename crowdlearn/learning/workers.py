"""Three ways to believe a worker, as Dirichlet and Beta posteriors given expected counts.

Each maps counts [worker, truth, label] to (E log confusion, mean confusion), of the same shape.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize_scalar
from scipy.special import betaln, digamma

Counts = Float[np.ndarray, "worker class class"]
Rows = tuple[np.ndarray, np.ndarray]

LOG_STRENGTHS = (np.log(0.5), np.log(300.0))  # of the votes that the population is worth


def full(counts: Counts, off_diagonal: float = 1.0, diagonal: float = 2.0) -> Rows:
    """A row of its own for every class, Dirichlet(off_diagonal, ..., diagonal): BCC's workers."""
    alpha = counts + off_diagonal + (diagonal - off_diagonal) * np.eye(counts.shape[1])
    total = alpha.sum(axis=2, keepdims=True)
    return digamma(alpha) - digamma(total), alpha / total


def per_class(counts: Counts) -> Rows:
    """An accuracy for every class, errors even over the others; Beta around the population's.

    Mean and strength of each class's Beta are learned from all workers (type II likelihood).
    """
    right = np.einsum("wkk->wk", counts)
    return _from_accuracy(right, counts.sum(axis=2) - right, counts.shape[1])


def one_coin(counts: Counts) -> Rows:
    """One accuracy a worker, errors even over the others; Beta around the population's."""
    right = np.einsum("wkk->w", counts)[:, None]
    return _from_accuracy(right, counts.sum(axis=(1, 2))[:, None] - right, counts.shape[1])


WORKERS: dict[str, Callable[[Counts], Rows]] = {
    "full": full, "per-class": per_class, "one-coin": one_coin,
}  # fmt: skip


def _from_accuracy(right: np.ndarray, wrong: np.ndarray, n_classes: int) -> Rows:
    """Rows of [worker, 1 or class] Beta posteriors."""
    prior_right, prior_wrong = _population(right, wrong)
    a, b = right + prior_right, wrong + prior_wrong
    shape, at = (len(right), n_classes, n_classes), np.arange(n_classes)
    log_rows, rows = np.empty(shape), np.empty(shape)
    log_rows[:] = (digamma(b) - digamma(a + b) - np.log(n_classes - 1))[:, :, None]
    rows[:] = (b / (a + b) / (n_classes - 1))[:, :, None]
    log_rows[:, at, at], rows[:, at, at] = digamma(a) - digamma(a + b), a / (a + b)
    return log_rows, rows


def _population(right: np.ndarray, wrong: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The Beta that workers' accuracies are drawn from: mean of all votes, likeliest strength."""
    mean = (right.sum(axis=0) + 1) / ((right + wrong).sum(axis=0) + 2)

    def misfit(log_strength: float) -> float:
        a, b = np.exp(log_strength) * mean, np.exp(log_strength) * (1 - mean)
        return -float((betaln(right + a, wrong + b) - betaln(a, b)).sum())

    strength = np.exp(minimize_scalar(misfit, bounds=LOG_STRENGTHS, method="bounded").x)
    return strength * mean, strength * (1 - mean)
