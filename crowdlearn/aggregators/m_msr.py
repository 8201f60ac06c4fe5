"""M-MSR: skills from how often pairs of workers agree, deaf to the pairs that fit worst.

Story       A worker is right with probability (1 + (K - 1) skill) / K, errors fall anywhere alike.
            Then (K agreement[w, x] - 1) / (K - 1) is skill[w] skill[x] in the mean: a matrix of
            rank one with a gap for every pair that shares no item. Some workers do not follow the
            story but answer as they like.
Inference   Alternating minimisation with filtering: a worker's skill is the mean of what its pairs
            say, the F largest above and the F smallest below the present value left out, until
            nothing moves. Then signs, and the vote weighted by log odds.
Paper       Ma and Olshevsky (2020), Adversarial crowdsourcing through robust rank-one matrix
            completion, NeurIPS (Matrix-Mean-Subsequence-Reduced).
Departures  F is half the worker's own pairs less one, where the paper has one F, half the pairs of
            the least connected worker: with sparse votes that is none. The matrix is symmetric, so
            the two half steps of a sweep become one by their geometric mean, at most one. Skills
            start at one and not at random. Signs are flipped while this raises the sum over pairs
            of common items times product times signs, from all positive, where the paper takes an
            eigenvector. Pairs whose other skill is zero say nothing. Gold answers are a worker of
            skill one.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float, Int, Int32
from numba import njit
from scipy.sparse import csr_array

from crowdlearn.aggregation import Aggregation, OnSweep
from crowdlearn.aggregators.coins import coin_predictor, conclude_coins
from crowdlearn.aggregators.outcome import clamped
from crowdlearn.aggregators.settings import check_settings
from crowdlearn.gold import gold_codes
from crowdlearn.inference.sweeping import sweep_until_still
from crowdlearn.votes import Votes


@dataclass(frozen=True, kw_only=True)
class MMsr:
    """Settings of M-MSR; `tolerance` is for the skills, not for the posterior."""

    name: ClassVar[str] = "m-msr"
    random: ClassVar[bool] = False

    max_sweeps: int = 1000
    tolerance: float = 1e-6
    seed: int = 0  # of the labels of tied items

    def __post_init__(self) -> None:
        check_settings(self)

    def fit(
        self, votes: Votes, *, gold: Any = None, on_sweep: OnSweep | None = None
    ) -> Aggregation:
        """Skills, and the posterior of a vote weighted by their log odds; see `Aggregation`."""
        started = time.perf_counter()
        known = gold_codes(votes, gold)
        pairs = agreements(votes, known)

        def step(size: Any) -> tuple[Any, float, float]:
            right = filtered(pairs, size, size)
            left = filtered(pairs, right, size)
            after = np.minimum(np.sqrt(left * right), 1.0)
            return after, math.nan, float(np.abs(after - size).max())

        size, history = sweep_until_still(
            step,
            np.ones(len(pairs.offsets) - 1),
            max_sweeps=self.max_sweeps,
            tolerance=self.tolerance,
            bound_name="none",
            on_sweep=on_sweep,
        )
        skill = size * signs(pairs, anchored=bool((known >= 0).any()))
        ability = ability_of(skill[: votes.n_workers], votes)
        posterior = clamped(coin_predictor(ability, votes.n_classes).predict(votes), known)
        return conclude_coins(self, votes, known, posterior, ability, history, started)


class Pairs(NamedTuple):
    """Pairs of workers with a common item, as the rows of a symmetric sparse matrix.

    The last row is the gold answers, as if they were a worker's votes.
    """

    offsets: Int32[np.ndarray, " offset"]
    other: Int32[np.ndarray, " pair"]
    common: Float[np.ndarray, " pair"]  # items in common
    product: Float[np.ndarray, " pair"]  # estimate of the product of skills, -1/(K-1) to 1


def agreements(votes: Votes, gold: Int32[np.ndarray, " item"]) -> Pairs:
    """Every pair's common items, and what their agreement says about the product of skills.

    A worker's repeated votes on an item pair up with all those of the other.
    """
    known = np.flatnonzero(gold >= 0)
    item = np.concatenate([votes.item, known])
    worker = np.concatenate([votes.worker, np.full(len(known), votes.n_workers)])
    cell = item.astype(np.int64) * votes.n_classes + np.concatenate([votes.label, gold[known]])
    common = _paired(worker, item, votes.n_workers + 1, votes.n_items)
    agreed = _paired(worker, cell, votes.n_workers + 1, votes.n_items * votes.n_classes)
    both = (common + agreed).tocsr()  # where nobody agreed, an entry stays
    both.sort_indices()
    common.sort_indices()
    share = (both.data - common.data) / common.data
    product = (votes.n_classes * share - 1) / (votes.n_classes - 1)
    return Pairs(common.indptr, common.indices, common.data, product)


def _paired(
    worker: Int[np.ndarray, " vote"], group: Int[np.ndarray, " vote"], n_workers: int, n_groups: int
) -> csr_array:
    """How many pairs of votes two workers have in the same group; no worker with itself."""
    table = csr_array((np.ones(len(worker)), (worker, group)), shape=(n_workers, n_groups))
    square = (table @ table.T).tocsr()
    square.setdiag(0)
    square.eliminate_zeros()
    return square


def filtered(
    pairs: Pairs, known: Float[np.ndarray, " worker"], present: Float[np.ndarray, " worker"]
) -> Float[np.ndarray, " worker"]:
    """Each worker's trimmed mean of |product| / known skill of the other; `present` if none."""
    out = np.empty_like(present)
    _filter(pairs.offsets, pairs.other, np.abs(pairs.product), known, present, out)
    out[-1] = 1.0
    return out


@njit(nogil=True, cache=True)
@no_type_check
def _filter(offsets, other, size, known, present, out):
    for w in range(len(present)):
        said = np.empty(offsets[w + 1] - offsets[w])
        n = 0
        for pair in range(offsets[w], offsets[w + 1]):
            if known[other[pair]] > 0.0:
                said[n] = size[pair] / known[other[pair]]
                n += 1
        said = np.sort(said[:n])
        most = max(n // 2 - 1, 0)
        below = min(np.searchsorted(said, present[w], side="left"), most)
        above = min(n - np.searchsorted(said, present[w], side="right"), most)
        out[w] = said[below : n - above].mean() if n > 0 else present[w]


def signs(pairs: Pairs, anchored: bool) -> Float[np.ndarray, " worker"]:
    """+1 or -1 for every worker, from all +1 by the flip that gains most until none gains.

    With `anchored` the last worker, the gold answers, stays +1. Otherwise the side with most pairs
    is +1, which takes most workers to be better than chance.
    """
    n = len(pairs.offsets) - 1
    weight = pairs.common * pairs.product
    matrix = csr_array((weight, pairs.other, pairs.offsets), shape=(n, n))
    sign = np.ones(n)
    pull = matrix @ sign
    while True:
        gain = -sign * pull
        if anchored:
            gain[-1] = 0.0
        flip = int(gain.argmax())
        if gain[flip] <= 1e-9:
            break
        sign[flip] = -sign[flip]
        row = slice(pairs.offsets[flip], pairs.offsets[flip + 1])
        pull[pairs.other[row]] += 2 * sign[flip] * weight[row]
    busy = np.add.reduceat(np.append(pairs.common, 0.0), pairs.offsets[:-1])
    return -sign if not anchored and busy @ sign < 0 else sign


def ability_of(skill: Float[np.ndarray, " worker"], votes: Votes) -> Float[np.ndarray, " worker"]:
    """Probability of a right vote, skills kept 1/sqrt(n_items) off their ends as in the paper."""
    others = votes.n_classes - 1
    margin = min(1 / math.sqrt(votes.n_items), 0.5 / others)
    inside = np.clip(skill, -1 / others + margin, 1 - margin)
    return (1 + others * inside) / votes.n_classes
