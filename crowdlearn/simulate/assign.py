"""Who judges what: the workloads that every simulated world can have.

Each function takes its settings and returns a function (rng, n_items, n_workers) -> item and
worker of every vote, sorted by item. No worker judges an item twice, except in `as_in`, and nothing
of size items x workers is built unless that many votes are asked for.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Int32, Int64

from crowdlearn.errors import SettingsError
from crowdlearn.simulate.world import CHUNK, Assign
from crowdlearn.votes import Votes

Pairs = tuple[Int32[np.ndarray, " vote"], Int32[np.ndarray, " vote"]]


def fixed_per_item(n_votes: int) -> Assign:
    """`n_votes` different workers for every item, all sets of workers equally likely."""

    def assign(rng: np.random.Generator, n_items: int, n_workers: int) -> Pairs:
        return _ragged(rng, np.full(n_items, n_votes), n_workers)

    return assign


def poisson_per_item(mean: float) -> Assign:
    """1 + Poisson(mean - 1) votes an item, at most one a worker; `mean` is at least 1."""
    if mean < 1:
        raise SettingsError(f"mean is {mean}: every item gets a vote, so it is at least 1")

    def assign(rng: np.random.Generator, n_items: int, n_workers: int) -> Pairs:
        counts = np.minimum(1 + rng.poisson(mean - 1, n_items), n_workers)
        return _ragged(rng, counts, n_workers)

    return assign


def uniform_pairs(n_votes: int) -> Assign:
    """`n_votes` different (item, worker) pairs, all sets of pairs equally likely.

    An item may get no vote.
    """

    def assign(rng: np.random.Generator, n_items: int, n_workers: int) -> Pairs:
        n_pairs = n_items * n_workers
        if not 1 <= n_votes <= n_pairs:
            raise SettingsError(
                f"n_votes is {n_votes}: {n_items} items and {n_workers} workers "
                f"make 1 to {n_pairs} different pairs"
            )
        if 2 * n_votes <= n_pairs:
            code = _distinct(rng, n_votes, n_pairs)
        else:
            left_out = np.zeros(n_pairs, dtype=bool)
            left_out[_distinct(rng, n_pairs - n_votes, n_pairs)] = True
            code = np.flatnonzero(~left_out)
        item = (code // n_workers).astype(np.int32)
        code -= item.astype(np.int64) * n_workers
        return item, code.astype(np.int32)

    return assign


def zipf_workers(n_votes: int, exponent: float = 1.0) -> Assign:
    """`n_votes` different workers for every item, chosen by popularity rank**-exponent.

    Worker 0 is the busiest. An item's workers are drawn one after the other, each by popularity
    among those not chosen yet. At most half of the workers may judge one item.
    """
    if exponent < 0:
        raise SettingsError(f"exponent is {exponent}: it must not be negative")

    def assign(rng: np.random.Generator, n_items: int, n_workers: int) -> Pairs:
        if not 1 <= n_votes <= n_workers // 2:
            raise SettingsError(
                f"n_votes is {n_votes}: 1 to {n_workers // 2} is possible, half of the workers"
            )
        popularity = np.arange(1, n_workers + 1, dtype=np.float64) ** -exponent
        cumulative = np.cumsum(popularity / popularity.sum())
        worker = np.empty((n_items, n_votes), dtype=np.int32)
        for start in range(0, n_items, CHUNK):
            _successive(rng, cumulative, worker[start : start + CHUNK])
        return np.repeat(np.arange(n_items, dtype=np.int32), n_votes), worker.ravel()

    return assign


def everyone(missing: float = 0.0) -> Assign:
    """Every worker judges every item, but a share `missing` of the votes is left out at random."""
    _check_share(missing)

    def assign(rng: np.random.Generator, n_items: int, n_workers: int) -> Pairs:
        return _dense(rng, np.full((n_items, n_workers), 1 - missing))

    return assign


def alternating(missing: float = 0.1) -> Assign:
    """Every worker judges every item, but even workers skip in the first half, odd in the second.

    Those who skip leave out twice the share `missing`, so that in all about this share is missing.
    """
    _check_share(2 * missing)

    def assign(rng: np.random.Generator, n_items: int, n_workers: int) -> Pairs:
        second_half = np.arange(n_items)[:, None] >= n_items / 2
        odd = np.arange(n_workers) % 2 == 1
        return _dense(rng, np.where(second_half == odd, 1 - 2 * missing, 1.0))

    return assign


def as_in(votes: Votes) -> Assign:
    """The workload of real votes: the same workers on the same items, repeats included."""

    def assign(rng: np.random.Generator, n_items: int, n_workers: int) -> Pairs:
        if (n_items, n_workers) != (votes.n_items, votes.n_workers):
            raise SettingsError(
                f"the world has {n_items} items and {n_workers} workers, the votes have "
                f"{votes.n_items} and {votes.n_workers}: make them equal"
            )
        return votes.item, votes.worker

    return assign


def _check_share(share: float) -> None:
    if not 0 <= share < 1:
        raise SettingsError(f"{share} of the votes cannot be missing: give a share in [0, 1)")


def _dense(rng: np.random.Generator, chance: Float[np.ndarray, "item worker"]) -> Pairs:
    item, worker = np.nonzero(rng.random(chance.shape) < chance)
    return item.astype(np.int32), worker.astype(np.int32)


def _ragged(rng: np.random.Generator, counts: Int[np.ndarray, " item"], n_workers: int) -> Pairs:
    """`counts[i]` different workers for item i."""
    low, high = int(counts.min()), int(counts.max())
    if low < 1 or high > n_workers:
        raise SettingsError(
            f"{low if low < 1 else high} votes an item: with {n_workers} workers 1 to {n_workers} "
            "is possible"
        )
    n_items = len(counts)
    offsets = np.cumsum(counts) - counts
    worker = np.empty(int(counts.sum()), dtype=np.int32)
    for count in np.unique(counts):
        for start in range(0, n_items, CHUNK):
            first = offsets[start : start + CHUNK][counts[start : start + CHUNK] == count]
            worker[first[:, None] + np.arange(count)] = _floyd(
                rng, len(first), int(count), n_workers
            )
    return np.repeat(np.arange(n_items, dtype=np.int32), counts), worker


def _floyd(
    rng: np.random.Generator, n_rows: int, n_chosen: int, n_workers: int
) -> Int32[np.ndarray, "row chosen"]:
    """A uniform set of `n_chosen` workers in every row, by Floyd's algorithm on all rows at once.

    Bentley and Floyd (1987), "A sample of brilliance": let j go over the last n_chosen workers,
    draw one up to j, and take j itself where that one is chosen already.
    """
    chosen = np.empty((n_rows, n_chosen), dtype=np.int32)
    for place, last in enumerate(range(n_workers - n_chosen, n_workers)):
        drawn = rng.integers(0, last + 1, n_rows, dtype=np.int32)
        taken = (chosen[:, :place] == drawn[:, None]).any(axis=1)
        chosen[:, place] = np.where(taken, last, drawn)
    return chosen


def _successive(
    rng: np.random.Generator,
    cumulative: Float[np.ndarray, " worker"],
    chosen: Int32[np.ndarray, "row place"],
) -> None:
    """Fill each row with different workers, each drawn by popularity among those left."""
    last = len(cumulative) - 1
    for place in range(chosen.shape[1]):
        rows = np.arange(len(chosen))
        while len(rows):
            drawn = np.minimum(np.searchsorted(cumulative, rng.random(len(rows)), "right"), last)
            chosen[rows, place] = drawn
            rows = rows[(chosen[rows, :place] == drawn[:, None]).any(axis=1)]


def _distinct(rng: np.random.Generator, n: int, n_pairs: int) -> Int64[np.ndarray, " n"]:
    """`n` different sorted codes below `n_pairs`, all sets equally likely; for n <= n_pairs / 2.

    Codes are drawn with repetition until enough differ; the surplus is dropped at random.
    """
    codes = np.empty(0, dtype=np.int64)
    while len(codes) < n:
        share_left = 1 - len(codes) / n_pairs
        n_more = int((n - len(codes)) / share_left * 1.01) + 10
        codes = np.concatenate([codes, rng.integers(0, n_pairs, n_more)])
        codes.sort()  # np.unique hashes, which is slower here
        codes = codes[np.concatenate([[True], codes[1:] != codes[:-1]])]
    surplus = rng.choice(len(codes), len(codes) - n, replace=False, shuffle=False)
    return np.delete(codes, surplus)
