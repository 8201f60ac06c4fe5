"""Votes with P(label | truth k) = softmax(worker's scores[k] + item's scores[k]): fitted by Newton.

Given one side's scores, those of the other fall apart into one small concave problem for each of
its members and each true class:

    maximise over r  sum over votes of weight * log softmax(r + partner's scores)[label]
                     - penalty / 2 * |r|^2

Tables are (member, class, label). The kernels release the GIL and touch only their own members'
rows, so any number may run at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Float, Int32, Int64
from numba import njit

from crowdlearn.sweeps.pool import Pool
from crowdlearn.votes import Votes

VOTES_A_TASK = 1 << 14
FLAT = 1e-12  # of the expected gain, in nats: below, a row is at its maximum


@dataclass(frozen=True, eq=False)
class Side:
    """The votes as the members of one side (all items, or all workers) hold them."""

    offsets: Int64[np.ndarray, " offset"]
    partner: Int32[np.ndarray, " vote"]  # the member of the other side
    item: Int32[np.ndarray, " vote"]
    label: Int32[np.ndarray, " vote"]
    tasks: list[tuple[int, int]]

    @classmethod
    def of_items(cls, votes: Votes) -> Side:
        item = votes.item
        return cls(votes.item_offsets, votes.worker, item, votes.label, _tasks(votes.item_offsets))

    @classmethod
    def of_workers(cls, votes: Votes) -> Side:
        offsets, order = votes.by_worker
        item = votes.item[order]
        return cls(offsets, item, item, votes.label[order], _tasks(offsets))

    def climb(
        self,
        weight: Float[np.ndarray, "item class"],
        scores: Float[np.ndarray, "member class label"],
        partners: Float[np.ndarray, "partner class label"],
        penalty: float,
        pool: Pool,
    ) -> None:
        """One Newton step for every member and class, halved until the objective rises."""
        votes = self.partner, self.item, self.label
        pool.run(
            lambda a, b: _climb(a, b, self.offsets, *votes, weight, partners, penalty, scores),
            self.tasks,
        )


def read_items(
    side: Side,
    gold: Int32[np.ndarray, " item"],
    items: Float[np.ndarray, "item class label"],
    workers: Float[np.ndarray, "worker class label"],
    posterior: Float[np.ndarray, "item class"],
    pool: Pool,
) -> tuple[float, float]:
    """Overwrite the posterior with that of these scores, classes equally likely beforehand.

    The log likelihood with truths summed out, and the largest change of a probability. A gold item
    keeps its class, and counts with that class alone.
    """
    parts = pool.run(
        lambda a, b: _read(
            a, b, side.offsets, side.partner, side.label, gold, items, workers, posterior
        ),
        side.tasks,
    )
    return math.fsum(bound for bound, _ in parts), max(change for _, change in parts)


def _tasks(offsets: Int64[np.ndarray, " offset"]) -> list[tuple[int, int]]:
    """Ranges of members with about equally many votes each; a function of the data alone."""
    targets = np.arange(VOTES_A_TASK, offsets[-1], VOTES_A_TASK)
    cuts = np.unique(np.searchsorted(offsets, targets))
    edges = [0, *(int(c) for c in cuts if 0 < c < len(offsets) - 1), len(offsets) - 1]
    return list(zip(edges[:-1], edges[1:], strict=True))


@njit(nogil=True, cache=True)
@no_type_check
def _log_normaliser(row, partner_row, out):
    """log sum exp of row + partner_row; `out` gets the probabilities."""
    n = len(row)
    top = -np.inf
    for c in range(n):
        out[c] = row[c] + partner_row[c]
        top = max(top, out[c])
    total = 0.0
    for c in range(n):
        out[c] = math.exp(out[c] - top)
        total += out[c]
    for c in range(n):
        out[c] /= total
    return top + math.log(total)


@njit(nogil=True, cache=True)
@no_type_check
def _value(first, last, k, partner, item, label, weight, partners, penalty, row, p):
    value = 0.0
    for v in range(first, last):
        if weight[item[v], k] > 0.0:
            other = partners[partner[v], k]
            norm = _log_normaliser(row, other, p)
            value += weight[item[v], k] * (row[label[v]] + other[label[v]] - norm)
    for c in range(len(row)):
        value -= 0.5 * penalty * row[c] * row[c]
    return value


@njit(nogil=True, cache=True)
@no_type_check
def _derivatives(first, last, k, partner, item, label, weight, partners, penalty, row, p, g, h):
    """The value; `g` gets the gradient, `h` minus the Hessian."""
    n = len(row)
    value = 0.0
    h[:] = 0.0
    for c in range(n):
        g[c] = -penalty * row[c]
        h[c, c] = penalty
        value -= 0.5 * penalty * row[c] * row[c]
    for v in range(first, last):
        q = weight[item[v], k]
        if q > 0.0:
            other = partners[partner[v], k]
            norm = _log_normaliser(row, other, p)
            value += q * (row[label[v]] + other[label[v]] - norm)
            g[label[v]] += q
            for c in range(n):
                g[c] -= q * p[c]
                h[c, c] += q * p[c]
                for d in range(c + 1):
                    h[c, d] -= q * p[c] * p[d]
    return value


@njit(nogil=True, cache=True)
@no_type_check
def _solve(h, g, d):
    """d = h^-1 g by Cholesky; `h` holds the lower triangle and is overwritten."""
    n = len(g)
    for c in range(n):
        for e in range(c + 1):
            total = h[c, e]
            for f in range(e):
                total -= h[c, f] * h[e, f]
            h[c, e] = math.sqrt(max(total, 1e-300)) if c == e else total / h[e, e]
    for c in range(n):
        d[c] = g[c]
        for e in range(c):
            d[c] -= h[c, e] * d[e]
        d[c] /= h[c, c]
    for c in range(n - 1, -1, -1):
        for e in range(c + 1, n):
            d[c] -= h[e, c] * d[e]
        d[c] /= h[c, c]


@njit(nogil=True, cache=True)
@no_type_check
def _climb(start, stop, offsets, partner, item, label, weight, partners, penalty, scores):
    n = scores.shape[2]
    p, g, d, trial = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    h = np.empty((n, n))
    for member in range(start, stop):
        first, last = offsets[member], offsets[member + 1]
        for k in range(scores.shape[1]):
            row = scores[member, k]
            value = _derivatives(
                first, last, k, partner, item, label, weight, partners, penalty, row, p, g, h
            )
            _solve(h, g, d)
            gain = 0.0
            for c in range(n):
                gain += g[c] * d[c]
            step = 1.0
            while gain > FLAT and step > 1e-9:
                for c in range(n):
                    trial[c] = row[c] + step * d[c]
                after = _value(
                    first, last, k, partner, item, label, weight, partners, penalty, trial, p
                )
                if after >= value + 0.1 * step * gain:
                    row[:] = trial
                    break
                step *= 0.5


@njit(nogil=True, cache=True)
@no_type_check
def _read(start, stop, offsets, worker, label, gold, items, workers, posterior):
    n = posterior.shape[1]
    p, log_p = np.empty(n), np.empty(n)
    bound, change = 0.0, 0.0
    for i in range(start, stop):
        for k in range(n):
            log_p[k] = -math.log(n)
            for v in range(offsets[i], offsets[i + 1]):
                row, other = items[i, k], workers[worker[v], k]
                log_p[k] += row[label[v]] + other[label[v]] - _log_normaliser(row, other, p)
        if gold[i] >= 0:
            bound += log_p[gold[i]]
            continue
        top = log_p.max()
        total = 0.0
        for k in range(n):
            log_p[k] = math.exp(log_p[k] - top)
            total += log_p[k]
        bound += top + math.log(total)
        for k in range(n):
            change = max(change, abs(log_p[k] / total - posterior[i, k]))
            posterior[i, k] = log_p[k] / total
    return bound, change
