"""Ordered confusions: tables of workers who read a scale, and their improvement given counts.

A worker is (bias, slope, ln noise), see `aggregators/ordinal.py`; thresholds, shared by all, come
from knobs (middle, ln gaps). With u[c, k] = (threshold[c] - m - slope (k - m) - bias) / noise,

    p[c, k] = (1 - lapse) (Phi(u[c, k]) - Phi(u[c - 1, k])) + lapse / K.

Improvement is Fisher scoring on sum of counts[w, c, k] ln p[c, k] plus the log prior, halved until
the sum does not fall.
"""

from __future__ import annotations

import math
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Float
from numba import njit

from crowdlearn.sweeps.pool import Pool, split

TYPICAL = np.array([0.0, 1.0, math.log(0.5)])
"""(bias, slope, ln noise) of the typical worker."""

STEPS = 2  # of scoring, a sweep
HALVINGS = 30
WORKERS_A_TASK = 4096


def thresholds(knobs: Float[np.ndarray, " knob"]) -> Float[np.ndarray, " knob"]:
    """Thresholds, lowest first, from (middle, ln gaps)."""
    raw = np.concatenate([[0.0], np.cumsum(np.exp(knobs[1:]))])
    return knobs[0] + raw - raw.mean()


def _turn(knobs: Float[np.ndarray, " knob"]) -> Float[np.ndarray, "threshold knob"]:
    """Derivatives of the thresholds by the knobs."""
    n = len(knobs)
    raw = np.tril(np.ones((n, n)), -1)[:, : n - 1] * np.exp(knobs[1:])
    return np.concatenate([np.ones((n, 1)), raw - raw.mean(axis=0)], axis=1)


@njit(nogil=True, cache=True)
@no_type_check
def _cells(worker, cuts, lapse, p, by_worker, by_cut):
    """p[c, k] with its derivatives by (bias, slope, ln noise), and by the cut above and below c."""
    n = p.shape[0]
    middle = (n - 1) / 2
    noise = math.exp(worker[2])
    for k in range(n):
        place = k - middle
        below, density_below, u_below = 0.0, 0.0, 0.0
        for c in range(n):
            above, density_above, u_above = 1.0, 0.0, 0.0
            if c < n - 1:
                u_above = (cuts[c] - middle - worker[1] * place - worker[0]) / noise
                above = 0.5 * math.erfc(-u_above * 0.7071067811865476)
                density_above = (1 - lapse) * math.exp(-0.5 * u_above**2) * 0.3989422804014327
            p[c, k] = (1 - lapse) * max(above - below, 0.0) + lapse / n
            change = density_above - density_below
            by_worker[0, c, k] = -change / noise
            by_worker[1, c, k] = -change * place / noise
            by_worker[2, c, k] = -(density_above * u_above - density_below * u_below)
            by_cut[0, c, k] = density_above / noise
            by_cut[1, c, k] = -density_below / noise
            below, density_below, u_below = above, density_above, u_above


@njit(nogil=True, cache=True)
@no_type_check
def _value(counts, worker, cuts, lapse, p, by_worker, by_cut):
    _cells(worker, cuts, lapse, p, by_worker, by_cut)
    total = 0.0
    for c in range(p.shape[0]):
        for k in range(p.shape[0]):
            total += counts[c, k] * math.log(p[c, k])
    return total


@njit(nogil=True, cache=True)
@no_type_check
def _information(counts, worker, spreads, p, by_worker, slope, info):
    """Gradient and Fisher information, prior included; `p` and `by_worker` are at `worker`."""
    n = p.shape[0]
    for j in range(3):
        slope[j] = -(worker[j] - TYPICAL[j]) / spreads[j] ** 2
        for h in range(3):
            info[j, h] = spreads[j] ** -2.0 if j == h else 0.0
    for k in range(n):
        votes = 0.0
        for c in range(n):
            votes += counts[c, k]
        for c in range(n):
            for j in range(3):
                slope[j] += counts[c, k] * by_worker[j, c, k] / p[c, k]
                for h in range(3):
                    info[j, h] += votes * by_worker[j, c, k] * by_worker[h, c, k] / p[c, k]


@njit(nogil=True, cache=True)
@no_type_check
def _solved(info, right, out):
    """out = info^-1 right, info 3 x 3 and positive definite, by Cholesky."""
    a = math.sqrt(info[0, 0])
    b, d = info[1, 0] / a, info[2, 0] / a
    c = math.sqrt(info[1, 1] - b * b)
    e = (info[2, 1] - d * b) / c
    f = math.sqrt(info[2, 2] - d * d - e * e)
    y0 = right[0] / a
    y1 = (right[1] - b * y0) / c
    y2 = (right[2] - d * y0 - e * y1) / f
    out[2] = y2 / f
    out[1] = (y1 - e * out[2]) / c
    out[0] = (y0 - b * out[1] - d * out[2]) / a


@njit(nogil=True, cache=True)
@no_type_check
def _better_workers(start, stop, counts, cuts, spreads, lapse, steps, workers):
    n = counts.shape[1]
    p, by_worker, by_cut = np.empty((n, n)), np.empty((3, n, n)), np.empty((2, n, n))
    slope, info, step, tried = np.empty(3), np.empty((3, 3)), np.empty(3), np.empty(3)
    for w in range(start, stop):
        for _ in range(steps):
            here = _value(counts[w], workers[w], cuts, lapse, p, by_worker, by_cut)
            for j in range(3):
                here -= 0.5 * ((workers[w, j] - TYPICAL[j]) / spreads[j]) ** 2
            _information(counts[w], workers[w], spreads, p, by_worker, slope, info)
            _solved(info, slope, step)
            for _ in range(HALVINGS):
                there = 0.0
                for j in range(3):
                    tried[j] = workers[w, j] + step[j]
                    there -= 0.5 * ((tried[j] - TYPICAL[j]) / spreads[j]) ** 2
                if abs(tried[2]) < 10:  # else so far out that exp would overflow
                    there += _value(counts[w], tried, cuts, lapse, p, by_worker, by_cut)
                    if there >= here:
                        workers[w] = tried
                        break
                step *= 0.5


@njit(nogil=True, cache=True)
@no_type_check
def _cuts_value(start, stop, counts, workers, cuts, lapse):
    n = counts.shape[1]
    p, by_worker, by_cut = np.empty((n, n)), np.empty((3, n, n)), np.empty((2, n, n))
    total = 0.0
    for w in range(start, stop):
        total += _value(counts[w], workers[w], cuts, lapse, p, by_worker, by_cut)
    return total


@njit(nogil=True, cache=True)
@no_type_check
def _cuts_information(start, stop, counts, workers, cuts, lapse):
    """Gradient and Fisher information of the cuts, summed over workers; without their prior."""
    n = counts.shape[1]
    p, by_worker, by_cut = np.empty((n, n)), np.empty((3, n, n)), np.empty((2, n, n))
    slope, info = np.zeros(n - 1), np.zeros((n - 1, n - 1))
    for w in range(start, stop):
        _cells(workers[w], cuts, lapse, p, by_worker, by_cut)
        for k in range(n):
            votes = counts[w, :, k].sum()
            for c in range(n):
                if c < n - 1:
                    slope[c] += counts[w, c, k] * by_cut[0, c, k] / p[c, k]
                    info[c, c] += votes * by_cut[0, c, k] ** 2 / p[c, k]
                if c > 0:
                    slope[c - 1] += counts[w, c, k] * by_cut[1, c, k] / p[c, k]
                    info[c - 1, c - 1] += votes * by_cut[1, c, k] ** 2 / p[c, k]
                if 0 < c < n - 1:
                    both = votes * by_cut[0, c, k] * by_cut[1, c, k] / p[c, k]
                    info[c, c - 1] += both
                    info[c - 1, c] += both
    return slope, info


@njit(nogil=True, cache=True)
@no_type_check
def _tables(start, stop, workers, cuts, lapse, table):
    n = table.shape[1]
    by_worker, by_cut = np.empty((3, n, n)), np.empty((2, n, n))
    for w in range(start, stop):
        _cells(workers[w], cuts, lapse, table[w], by_worker, by_cut)


@njit(nogil=True, cache=True)
@no_type_check
def _accuracy(start, stop, counts, workers, cuts, prior, spreads, lapse, mean, variance):
    n = counts.shape[1]
    p, by_worker, by_cut = np.empty((n, n)), np.empty((3, n, n)), np.empty((2, n, n))
    slope, info, spread, out = np.empty(3), np.empty((3, 3)), np.empty(3), np.empty(3)
    for w in range(start, stop):
        _cells(workers[w], cuts, lapse, p, by_worker, by_cut)
        _information(counts[w], workers[w], spreads, p, by_worker, spread, info)
        slope[:] = 0.0
        mean[w] = 0.0
        for k in range(n):
            mean[w] += prior[k] * p[k, k]
            for j in range(3):
                slope[j] += prior[k] * by_worker[j, k, k]
        _solved(info, slope, out)
        variance[w] = slope @ out


def table(
    knobs: Float[np.ndarray, " knob"],
    workers: Float[np.ndarray, "worker 3"],
    lapse: float,
    pool: Pool,
) -> Float[np.ndarray, "worker label class"]:
    """p[c, k] of every worker."""
    n_classes = len(knobs) + 1
    cells = np.empty((len(workers), n_classes, n_classes))
    cuts = thresholds(knobs)
    pool.run(lambda a, b: _tables(a, b, workers, cuts, lapse, cells), _tasks(workers))
    return cells


def better_workers(
    counts: Float[np.ndarray, "worker label class"],
    knobs: Float[np.ndarray, " knob"],
    workers: Float[np.ndarray, "worker 3"],
    spreads: Float[np.ndarray, " 3"],
    lapse: float,
    pool: Pool,
) -> Float[np.ndarray, "worker 3"]:
    """Every worker after a few scoring steps; none explains its counts worse than before."""
    better, cuts = workers.copy(), thresholds(knobs)
    pool.run(
        lambda a, b: _better_workers(a, b, counts, cuts, spreads, lapse, STEPS, better),
        _tasks(workers),
    )
    return better


def better_knobs(
    counts: Float[np.ndarray, "worker label class"],
    knobs: Float[np.ndarray, " knob"],
    workers: Float[np.ndarray, "worker 3"],
    prior: tuple[Float[np.ndarray, " knob"], Float[np.ndarray, " knob"]],
    lapse: float,
    pool: Pool,
) -> Float[np.ndarray, " knob"]:
    """The knobs after a scoring step under a normal prior (means, precisions)."""
    mean, precision = prior

    def value(at: np.ndarray) -> float:
        cuts = thresholds(at)
        parts = pool.run(
            lambda a, b: _cuts_value(a, b, counts, workers, cuts, lapse), _tasks(workers)
        )
        return math.fsum(parts) - 0.5 * float((precision * (at - mean) ** 2).sum())

    step = _knob_step(counts, knobs, workers, prior, lapse, pool)
    here = value(knobs)
    for _ in range(HALVINGS):
        if np.abs(knobs + step).max() < 100 and value(knobs + step) >= here:
            return knobs + step
        step = step / 2
    return knobs


def _knob_step(
    counts: Any, knobs: Any, workers: Any, prior: tuple[Any, Any], lapse: float, pool: Pool
) -> Float[np.ndarray, " knob"]:
    """The whole scoring step."""
    mean, precision = prior
    cuts, turn = thresholds(knobs), _turn(knobs)
    parts = pool.run(
        lambda a, b: _cuts_information(a, b, counts, workers, cuts, lapse), _tasks(workers)
    )
    slope = sum(part[0] for part in parts) @ turn - precision * (knobs - mean)
    info = turn.T @ sum(part[1] for part in parts) @ turn + np.diag(precision)
    return np.linalg.solve(info, slope)


def accuracy(
    counts: Float[np.ndarray, "worker label class"],
    knobs: Float[np.ndarray, " knob"],
    workers: Float[np.ndarray, "worker 3"],
    prior: Float[np.ndarray, " class"],
    spreads: Float[np.ndarray, " 3"],
    lapse: float,
    pool: Pool,
) -> tuple[Float[np.ndarray, " worker"], Float[np.ndarray, " worker"]]:
    """Chance that a worker's label is right on items drawn from `prior`, and its variance.

    The variance is that of the workers' own three parameters (Laplace), thresholds and truths
    taken as known.
    """
    mean, variance, cuts = np.empty(len(workers)), np.empty(len(workers)), thresholds(knobs)
    pool.run(
        lambda a, b: _accuracy(a, b, counts, workers, cuts, prior, spreads, lapse, mean, variance),
        _tasks(workers),
    )
    return mean, variance


def _tasks(workers: Any) -> list[tuple[int, int]]:
    return split(len(workers), len(workers) // WORKERS_A_TASK + 1)
