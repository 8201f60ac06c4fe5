"""What counts say of Dirichlet rows that are summed out: probabilities, and tables.

Counts are flat (worker, label, class). A worker of community m has rows k that are Dirichlet with
parameters strength[m, k] * mean[m, k]; given these, a row's counts are Dirichlet-multinomial. Only
cells with votes cost anything but a glance.
"""

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np
from jaxtyping import Float, Int
from numba import njit

FEW = 16  # rising factorials of so many factors are multiplied out


def log_rows(
    counts: Float[np.ndarray, " cell"],
    community: Int[np.ndarray, " worker"],
    strength: Float[np.ndarray, "community class"],
    mean: Float[np.ndarray, "community class label"],
) -> Float[np.ndarray, "community class"]:
    """Log probability of the rows counted, confusions summed out, per community and class."""
    out = np.zeros(strength.shape)
    _log_rows(counts, community, strength, mean, out)
    return out


def log_workers(
    counts: Float[np.ndarray, " cell"],
    strength: Float[np.ndarray, "community class"],
    mean: Float[np.ndarray, "community class label"],
) -> Float[np.ndarray, "worker community"]:
    """Log probability of all rows of each worker, were the worker of each community."""
    out = np.empty((len(counts) // mean[0].size, len(mean)))
    _log_workers(counts, strength, mean, out)
    return out


def draw_tables(
    counts: Float[np.ndarray, " cell"],
    community: Int[np.ndarray, " worker"],
    strength: Float[np.ndarray, "community class"],
    mean: Float[np.ndarray, "community class label"],
    rng: np.random.Generator,
) -> Float[np.ndarray, "community class label"]:
    """Tables that the counts take up: of n customers, the r-th opens one with a / (a + r - 1)."""
    out = np.zeros(mean.shape)
    _seat(counts, community, strength, mean, rng.random(int(counts.sum())), out)
    return out


@njit(nogil=True, inline="always")
@no_type_check
def _log_rising(a, n):
    """log of a (a + 1) ... (a + n - 1)."""
    if n > FEW:
        return math.lgamma(a + n) - math.lgamma(a)
    product = 1.0
    for step in range(int(n)):
        product *= a + step
    return math.log(product)


@njit(nogil=True, inline="always")
@no_type_check
def _log_row(counts, at, k, strength, mean):
    """Log Dirichlet-multinomial probability of one worker's row of class k."""
    n_labels = len(mean)
    log_p = 0.0
    total = 0.0
    for c in range(n_labels):
        n = counts[at + c * n_labels + k]
        if n > 0.0:
            total += n
            log_p += _log_rising(strength * mean[c], n)
    return log_p - _log_rising(strength, total) if total > 0.0 else 0.0


@njit(nogil=True, cache=True)
@no_type_check
def _log_rows(counts, community, strength, mean, out):
    n_classes = mean.shape[1]
    for w in range(len(community)):
        m = community[w]
        for k in range(n_classes):
            out[m, k] += _log_row(counts, w * n_classes**2, k, strength[m, k], mean[m, k])


@njit(nogil=True, cache=True)
@no_type_check
def _log_workers(counts, strength, mean, out):
    n_classes = mean.shape[1]
    for w in range(len(out)):
        for m in range(len(mean)):
            out[w, m] = 0.0
            for k in range(n_classes):
                out[w, m] += _log_row(counts, w * n_classes**2, k, strength[m, k], mean[m, k])


@njit(nogil=True, cache=True)
@no_type_check
def _seat(counts, community, strength, mean, uniform, out):
    n_classes = mean.shape[1]
    used = 0
    for w in range(len(community)):
        m = community[w]
        for c in range(n_classes):
            for k in range(n_classes):
                a = strength[m, k] * mean[m, k, c]
                for seated in range(int(counts[(w * n_classes + c) * n_classes + k])):
                    if uniform[used] * (a + seated) < a:
                        out[m, k, c] += 1.0
                    used += 1
