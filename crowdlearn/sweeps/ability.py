"""Passes over the votes where each is right with a probability of its own, errors falling alike.

P(vote v right) = sigmoid(ability[w] * easiness[i]) for vote v by worker w on item i. The log odds
of right against one given error are then ability * easiness + log(n_classes - 1), so an item's
evidence is a sum of these per class: one exp and one log a vote, whatever the number of classes.
"""

from __future__ import annotations

import math
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Float, Int32
from numba import njit

from crowdlearn.sweeps import cpu
from crowdlearn.sweeps.pool import Pool, split
from crowdlearn.votes import Votes

MOST_BLOCKS = 16  # fixed by the data alone, so that sums do not depend on the threads
LARGEST_STEP = 1.0  # of a log easiness in one Newton step
STEPS = 100
STILL = 1e-12  # a log easiness that moves by less has settled


@njit(nogil=True, inline="always")
@no_type_check
def _softplus(x):
    """log(1 + exp(x)), without overflow."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@njit(nogil=True, inline="always")
@no_type_check
def _read(i, offsets, worker, label, gold, ability, easiness, row):
    """The item's class posterior into `row`; its log evidence, and that of a uniform prior."""
    n_classes = len(row)
    row[:] = 0.0
    base = -math.log(n_classes)
    error = math.log(n_classes - 1.0)
    for v in range(offsets[i], offsets[i + 1]):
        x = ability[worker[v]] * easiness
        base -= _softplus(x) + error  # the log probability of one given error
        row[label[v]] += x + error
    if gold >= 0:
        log_evidence = base + row[gold]
        row[:] = 0.0
        row[gold] = 1.0
        return log_evidence
    top = row.max()
    total = 0.0
    for k in range(n_classes):
        row[k] = math.exp(row[k] - top)
        total += row[k]
    for k in range(n_classes):
        row[k] /= total
    return base + top + math.log(total)


@njit(nogil=True, cache=True)
@no_type_check
def _climb(
    start,
    stop,
    offsets,
    worker,
    label,
    gold,
    ability,
    log_easiness,
    posterior,
    to_ability,
    to_easiness,
):
    log_evidence = 0.0
    row = np.empty(posterior.shape[1])
    to_ability[:] = 0.0
    for i in range(start, stop):
        easiness = math.exp(log_easiness[i])
        log_evidence += _read(i, offsets, worker, label, gold[i], ability, easiness, row)
        slope = 0.0
        for v in range(offsets[i], offsets[i + 1]):
            w = worker[v]
            surprise = row[label[v]] - 1.0 / (1.0 + math.exp(-ability[w] * easiness))
            to_ability[w] += surprise * easiness
            slope += surprise * ability[w]
        to_easiness[i] = slope * easiness
        posterior[i] = row
    return log_evidence


@njit(nogil=True, cache=True)
@no_type_check
def _settle(
    start, stop, offsets, worker, label, gold, ability, centre, spread, log_easiness, posterior
):
    row = np.empty(posterior.shape[1])
    weight = 1.0 / spread**2
    for i in range(start, stop):
        b = centre
        height = _read(i, offsets, worker, label, gold[i], ability, math.exp(b), row)
        for _ in range(STEPS):
            easiness = math.exp(b)
            slope = 0.0
            bend = weight
            for v in range(offsets[i], offsets[i + 1]):
                x = ability[worker[v]] * easiness
                right = 1.0 / (1.0 + math.exp(-x))
                slope += (row[label[v]] - right) * x
                bend += right * (1.0 - right) * x * x
            step = (slope - weight * (b - centre)) / bend
            step = min(max(step, -LARGEST_STEP), LARGEST_STEP)
            higher = height
            while abs(step) > STILL:
                away = b + step - centre
                higher = _read(i, offsets, worker, label, gold[i], ability, math.exp(b + step), row)
                higher -= 0.5 * weight * away * away
                if higher >= height:
                    break
                step *= 0.5
            if abs(step) <= STILL:
                break
            b += step
            height = higher
        _read(i, offsets, worker, label, gold[i], ability, math.exp(b), row)
        log_easiness[i] = b
        posterior[i] = row


class AbilitySweeper:
    """Votes and gold answers at home on the CPU, in blocks that depend on the data alone."""

    def __init__(self, votes: Votes, gold: Int32[np.ndarray, " item"], n_threads: int = 0) -> None:
        self.votes = votes
        self.gold = gold
        n_blocks = min(votes.n_votes // cpu.VOTES_A_BLOCK + 1, MOST_BLOCKS)
        self.blocks = split(votes.n_items, n_blocks)
        self.pool = Pool(n_threads if len(self.blocks) > 1 else 1)
        self.to_ability = np.empty((len(self.blocks), votes.n_workers))

    def climb(
        self,
        ability: Float[np.ndarray, " worker"],
        log_easiness: Float[np.ndarray, " item"],
        posterior: Float[np.ndarray, "item class"],
    ) -> tuple[float, Float[np.ndarray, " worker"], Float[np.ndarray, " item"]]:
        """Log likelihood and its slopes in ability and log easiness.

        The class prior is uniform, and truths are summed out. Overwrites `posterior` with that
        of these parameters.
        """
        to_easiness = np.empty(len(log_easiness))
        parts = self.pool.run(
            lambda block: _climb(
                *self.blocks[block], *self._votes(), ability, log_easiness, posterior,
                self.to_ability[block], to_easiness,
            ),
            [(block,) for block in range(len(self.blocks))],
        )  # fmt: skip
        return math.fsum(parts), self.to_ability.sum(axis=0), to_easiness

    def settle(
        self, ability: Float[np.ndarray, " worker"], centre: float, spread: float
    ) -> tuple[Float[np.ndarray, " item"], Float[np.ndarray, "item class"]]:
        """Every item's best log easiness given the abilities, and its class posterior there.

        Log easinesses are Normal(centre, spread) beforehand. Fisher steps uphill from `centre`,
        halved until the height rises; an item alone is read as it would be among others.
        """
        log_easiness = np.empty(self.votes.n_items)
        posterior = np.empty((self.votes.n_items, self.votes.n_classes))
        self.pool.run(
            lambda a, b: _settle(
                a, b, *self._votes(), ability, centre, spread, log_easiness, posterior
            ),
            self.blocks,
        )
        return log_easiness, posterior

    def _votes(self) -> tuple[Any, ...]:
        return self.votes.item_offsets, self.votes.worker, self.votes.label, self.gold
