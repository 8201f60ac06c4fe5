"""Shrunken confusions: the strength is the most likely one, and both of its ends are right."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose
from scipy.optimize import minimize_scalar
from scipy.special import gammaln

from crowdlearn.aggregators.shrinking import first_strength, shrunken


def crowd(strength: float, n_workers: int, n_votes: int) -> np.ndarray:
    """Counts [worker, label, class] of rows ~ Dirichlet(strength * mean)."""
    rng = np.random.default_rng(3)
    mean = np.array([[0.7, 0.2, 0.1], [0.2, 0.6, 0.2], [0.1, 0.2, 0.7]])
    rows = np.stack([rng.dirichlet(strength * m, n_workers) for m in mean], axis=1)
    drawn = [[rng.multinomial(n_votes, row) for row in rows[w]] for w in range(n_workers)]
    return np.array(drawn, dtype=float).transpose(0, 2, 1)


def log_evidence(counts: np.ndarray, strength: float) -> float:
    """Log Dirichlet-multinomial probability of the counts, mean fixed as the code has it."""
    mean = (counts.sum(axis=0) + 1) / (counts.sum(axis=0) + 1).sum(axis=0)
    alpha, total = strength * mean, counts.sum(axis=1)
    rows = gammaln(strength) - gammaln(total + strength)
    return float(rows.sum() + (gammaln(counts + alpha) - gammaln(alpha)).sum())


def test_the_strength_is_the_most_likely_one() -> None:
    counts = crowd(6.0, 40, 25)
    _, strength = shrunken(counts, first_strength(3), n_steps=500)
    best = minimize_scalar(
        lambda s: -log_evidence(counts, s), bounds=(0.5, 300), method="bounded",
        options={"xatol": 1e-8},
    )  # fmt: skip
    assert_allclose(strength, best.x, rtol=1e-4)
    assert 4 < strength < 9


def test_workers_who_are_all_alike_get_one_confusion() -> None:
    table, strength = shrunken(crowd(1e6, 60, 50), first_strength(3), n_steps=5000)
    assert strength > 100
    assert np.ptp(table, axis=0).max() < 0.15


def test_a_worker_without_votes_gets_the_population() -> None:
    counts = crowd(6.0, 40, 25)
    counts[7] = 0
    table, _ = shrunken(counts, 6.0)
    mean = (counts.sum(axis=0) + 1) / (counts.sum(axis=0) + 1).sum(axis=0)
    assert_allclose(table[7], mean)
    assert_allclose(table.sum(axis=1), 1)
