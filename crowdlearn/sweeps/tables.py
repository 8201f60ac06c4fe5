"""Tables from counts: the small half of every sweep, worker by worker.

Counts and tables are flat (worker, label, state); a row of a confusion matrix, one worker in one
state, sums over labels to one. `extra` (label, state) is what a story adds to every worker's
counts: a pseudocount, or the parameters of its Dirichlet prior. Where workers have a prior each, it
is (worker, label, state).
"""

from __future__ import annotations

import math
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Float
from numba import njit
from scipy.special import gammaln

from crowdlearn.sweeps.kernels import TINY
from crowdlearn.sweeps.pool import Pool, split

CELLS_A_TASK = 1 << 15  # done at once: stays in the second-level cache
LEAST_PRODUCT = 1e-270  # of probabilities: another factor of TINY does not underflow


@njit(nogil=True, cache=True)
@no_type_check
def digamma_and_lgamma(x):
    """Digamma and log gamma of x > 0 to about 1e-14 relative: recurrence to 8, then Stirling."""
    shift = 0.0
    product = 1.0
    while x < 8.0:
        shift += 1.0 / x
        product *= x
        x += 1.0
    log_x = math.log(x)
    r = 1.0 / x
    r2 = r * r
    digamma = (
        log_x
        - 0.5 * r
        - r2
        * (
            1 / 12
            - r2 * (1 / 120 - r2 * (1 / 252 - r2 * (1 / 240 - r2 * (1 / 132 - r2 * 691 / 32760))))
        )
    )
    stirling = r * (
        1 / 12
        - r2 * (1 / 360 - r2 * (1 / 1260 - r2 * (1 / 1680 - r2 * (1 / 1188 - r2 * 691 / 360360))))
    )
    lgamma = (x - 0.5) * log_x - x + 0.9189385332046727 + stirling - math.log(product)
    return digamma - shift, lgamma


@njit(nogil=True, cache=True)
@no_type_check
def _normalised(start, stop, n_labels, n_states, counts, extra, table):
    log_extra = 0.0
    for w in range(start, stop):
        at = w * n_labels * n_states
        own = w if len(extra) > 1 else 0
        for s in range(n_states):
            total = 0.0
            first = extra[own, 0, s]
            alike = first > 0.0
            for c in range(n_labels):
                total += counts[at + c * n_states + s] + extra[own, c, s]
                alike = alike and extra[own, c, s] == first
            product = 1.0
            for c in range(n_labels):
                cell = at + c * n_states + s
                p = (counts[cell] + extra[own, c, s]) / total if total > 0.0 else 1.0 / n_labels
                p = max(p, TINY)
                table[cell] = p
                if alike:  # one logarithm for many cells
                    product *= p
                    if product < LEAST_PRODUCT:
                        log_extra += first * math.log(product)
                        product = 1.0
                elif extra[own, c, s] > 0.0:
                    log_extra += extra[own, c, s] * math.log(p)
            if alike:
                log_extra += first * math.log(product)
    return log_extra


@njit(nogil=True, cache=True)
@no_type_check
def _expected(start, stop, n_labels, n_states, counts, extra, lgamma_extra, logs, table):
    divergence = 0.0
    for w in range(start, stop):
        at = w * n_labels * n_states
        own = w if len(extra) > 1 else 0
        for s in range(n_states):
            total = 0.0
            before = 0.0
            for c in range(n_labels):
                total += counts[at + c * n_states + s] + extra[own, c, s]
                before += extra[own, c, s]
            psi_total, lgamma_total = digamma_and_lgamma(total)
            divergence += lgamma_total - math.lgamma(before)
            for c in range(n_labels):
                cell = at + c * n_states + s
                psi, lgamma = digamma_and_lgamma(counts[cell] + extra[own, c, s])
                divergence += lgamma_extra[own, c, s] - lgamma + counts[cell] * (psi - psi_total)
                table[cell] = psi - psi_total if logs else max(math.exp(psi - psi_total), TINY)
    return divergence


@njit(nogil=True, cache=True)
@no_type_check
def _beta_expectations(start, stop, seen, offsets, a, b, logs, sees, misses):
    divergence = 0.0
    _, norm_a = digamma_and_lgamma(a)
    _, norm_b = digamma_and_lgamma(b)
    _, norm = digamma_and_lgamma(a + b)
    for i in range(start, stop):
        n_seen = seen[i]
        n_missed = max(offsets[i + 1] - offsets[i] - n_seen, 0.0)
        psi_a, lgamma_a = digamma_and_lgamma(a + n_seen)
        psi_b, lgamma_b = digamma_and_lgamma(b + n_missed)
        psi, lgamma = digamma_and_lgamma(a + b + n_seen + n_missed)
        divergence += (lgamma - lgamma_a - lgamma_b) - (norm - norm_a - norm_b)
        divergence += n_seen * (psi_a - psi) + n_missed * (psi_b - psi)
        sees[i] = psi_a - psi if logs else math.exp(psi_a - psi)
        misses[i] = psi_b - psi if logs else math.exp(psi_b - psi)
    return divergence


def normalised(
    counts: Float[np.ndarray, " cell"],
    extra: Float[np.ndarray, "*worker label state"],
    dtype: Any,
    pool: Pool,
) -> tuple[Float[np.ndarray, " cell"], float]:
    """Rows of counts + extra divided by their sum, and sum of extra * log of them.

    A row without counts and extra is uniform; no cell is below 1e-30.
    """
    table = np.empty(len(counts), dtype)
    cube = extra.reshape(-1, *extra.shape[-2:])
    parts = pool.run(
        lambda start, stop: _normalised(start, stop, *cube.shape[1:], counts, cube, table),
        _tasks(len(counts), extra),
    )
    return table, math.fsum(parts)


def expected(
    counts: Float[np.ndarray, " cell"],
    extra: Float[np.ndarray, "*worker label state"],
    dtype: Any,
    pool: Pool,
    logs: bool = False,
) -> tuple[Float[np.ndarray, " cell"], float]:
    """exp E ln of rows ~ Dirichlet(extra + counts), and the divergence of them all from the prior.

    With `logs`, E ln itself. `extra` must be positive; the divergence is
    KL(Dirichlet(extra + counts) || Dirichlet(extra)) summed over rows, in nats.
    """
    table = np.empty(len(counts), dtype)
    cube = extra.reshape(-1, *extra.shape[-2:])
    known = gammaln(cube)
    parts = pool.run(
        lambda start, stop: _expected(
            start, stop, *cube.shape[1:], counts, cube, known, logs, table
        ),
        _tasks(len(counts), extra),
    )
    return table, math.fsum(parts)


def beta_expectations(
    seen: Float[np.ndarray, " item"],
    offsets: np.ndarray,
    beta: tuple[float, float],
    pool: Pool,
    logs: bool = False,
) -> tuple[Float[np.ndarray, " item"], Float[np.ndarray, " item"], float]:
    """exp E ln d and exp E ln (1 - d) of every item's easiness d, and their divergence.

    d ~ Beta(a + seen, b + votes - seen), prior Beta(a, b); with `logs`, E ln themselves.
    """
    sees, misses = np.empty(len(seen)), np.empty(len(seen))
    parts = pool.run(
        lambda start, stop: _beta_expectations(
            start, stop, seen, offsets, *beta, logs, sees, misses
        ),
        split(len(seen), len(seen) // 65536 + 1),
    )
    return sees, misses, math.fsum(parts)


def drawn(
    counts: Float[np.ndarray, " cell"],
    extra: Float[np.ndarray, "*worker label state"],
    dtype: Any,
    rng: np.random.Generator,
) -> Float[np.ndarray, " cell"]:
    """One draw of every row from Dirichlet(extra + counts), flat like the counts."""
    shape = extra.shape[-2:]
    gammas = rng.standard_gamma((counts.reshape(-1, *shape) + extra).ravel())
    cube = gammas.reshape(-1, *shape)
    totals = cube.sum(axis=1, keepdims=True)
    if not totals.all():  # all gammas of a row underflowed: tiny parameters put it on one label
        worker, state = np.nonzero(totals[:, 0] == 0)
        cube[worker, rng.integers(shape[0], size=len(worker)), state] = 1
        totals = cube.sum(axis=1, keepdims=True)
    cube /= totals
    return np.maximum(gammas, TINY, out=gammas).astype(dtype, copy=False)


def error_table(
    ability: Float[np.ndarray, " worker"], n_classes: int
) -> Float[np.ndarray, " cell"]:
    """The flat (worker, label, class) table of workers who err anywhere alike."""
    wrong = (1 - ability) / (n_classes - 1)
    same = np.eye(n_classes, dtype=bool)
    return np.where(same, ability[:, None, None], wrong[:, None, None]).ravel()


def _tasks(n_cells: int, extra: np.ndarray) -> list[tuple[int, int]]:
    n_labels, n_states = extra.shape[-2:]
    return split(n_cells // (n_labels * n_states), n_cells // CELLS_A_TASK + 1)
