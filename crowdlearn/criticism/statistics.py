"""What can be seen in votes without a model: agreement, and who says what.

A measure looks at votes once and gives a `Statistic`, which can then be taken of any labels of the
same votes, quickly and often. It has one entry, or one for each of several workers, classes or
pairs; workers with fewer than 10 votes, and pairs with fewer than 10 items in common, have none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from crowdlearn.votes import Votes

MIN_VOTES = 10
MIN_COMMON = 10
MAX_ENTRIES = 2000  # of one statistic: those with most votes are kept

Of = Callable[[Int[np.ndarray, " vote"]], Float[np.ndarray, " entry"]]
"""Labels of the votes, in their order -> one number an entry."""


@dataclass(frozen=True, eq=False)
class Statistic:
    """A measure made ready for certain votes."""

    entries: tuple[str, ...]  # names
    of: Of


Measure = Callable[[Votes], Statistic]


def agreement(votes: Votes) -> Statistic:
    """Share of equal labels among all pairs of votes on one item."""
    counts, n_pairs = _counter(votes), _pairs_of(votes.votes_per_item).sum()
    return Statistic(
        ("all items",), lambda label: np.atleast_1d(_pairs_of(counts(label)).sum() / n_pairs)
    )


def alpha(votes: Votes) -> Statistic:
    """Krippendorff's alpha for names: agreement beyond chance, 1 where it is perfect."""
    counts, n = _counter(votes), votes.votes_per_item
    many = n >= 2

    def of(label: Int[np.ndarray, " vote"]) -> Float[np.ndarray, " entry"]:
        table = counts(label)[many]
        equal = (2 * _pairs_of(table) / (n[many, None] - 1)).sum()
        totals = table.sum(axis=0)
        chance = (totals * (totals - 1)).sum() / (totals.sum() - 1)
        if chance == totals.sum():  # all say the same
            return np.ones(1)
        return np.atleast_1d(1 - (totals.sum() - equal) / (totals.sum() - chance))

    return Statistic(("all items",), of)


def unanimous(votes: Votes) -> Statistic:
    """Share of the items with two votes or more that all say the same."""
    counts, n = _counter(votes), votes.votes_per_item
    many = n >= 2
    return Statistic(
        ("all items",),
        lambda label: np.atleast_1d((counts(label)[many].max(axis=1) == n[many]).mean()),
    )


def class_share(votes: Votes) -> Statistic:
    """Share of all votes that say each class."""
    n_classes, n = votes.n_classes, votes.n_votes
    return Statistic(votes.classes, lambda label: np.bincount(label, minlength=n_classes) / n)


def worker_agreement(votes: Votes) -> Statistic:
    """How often another vote on the item says what the worker says."""
    counts, item = _counter(votes), votes.item
    others = (votes.votes_per_item - 1)[item]
    n_others = np.bincount(votes.worker, others, votes.n_workers)
    shown = _busiest(np.where(n_others > 0, votes.votes_per_worker, 0), MIN_VOTES, MAX_ENTRIES)

    def of(label: Int[np.ndarray, " vote"]) -> Float[np.ndarray, " entry"]:
        same = counts(label)[item, label] - 1
        return np.bincount(votes.worker, same, votes.n_workers)[shown] / n_others[shown]

    return Statistic(tuple(_names(votes, shown)), of)


def worker_labels(votes: Votes) -> Statistic:
    """Share of each worker's votes that say each class."""
    k, n = votes.n_classes, votes.votes_per_worker
    shown = _busiest(n, MIN_VOTES, MAX_ENTRIES // k)

    def of(label: Int[np.ndarray, " vote"]) -> Float[np.ndarray, " entry"]:
        cells = np.bincount(votes.worker * np.int64(k) + label, minlength=votes.n_workers * k)
        return (cells.reshape(-1, k)[shown] / n[shown, None]).ravel()

    entries = (f"{name} says {c}" for name in _names(votes, shown) for c in votes.classes)
    return Statistic(tuple(entries), of)


def worker_confusion(votes: Votes) -> Statistic:
    """Share of each worker's votes that say one class where most votes of the item say another.

    The first of several most frequent classes counts; the worker's own vote counts among the rest.
    """
    k, n, item = votes.n_classes, votes.votes_per_worker, votes.item
    shown = _busiest(n, MIN_VOTES, max(MAX_ENTRIES // k**2, 1))
    counts = _counter(votes)

    def of(label: Int[np.ndarray, " vote"]) -> Float[np.ndarray, " entry"]:
        most = counts(label).argmax(axis=1)[item]
        cell = (votes.worker * np.int64(k) + most) * k + label
        cells = np.bincount(cell, minlength=votes.n_workers * k**2).reshape(-1, k**2)
        return (cells[shown] / n[shown, None]).ravel()

    said = [f"says {c}, most say {m}" for m in votes.classes for c in votes.classes]
    return Statistic(tuple(f"{name} {text}" for name in _names(votes, shown) for text in said), of)


def pair_agreement(votes: Votes) -> Statistic:
    """Share of equal labels on the items that two workers have in common, for each two workers."""
    first, second = vote_pairs(votes)
    low = np.minimum(votes.worker[first], votes.worker[second]).astype(np.int64)
    high = np.maximum(votes.worker[first], votes.worker[second])
    code, place, n = np.unique(
        low * votes.n_workers + high, return_inverse=True, return_counts=True
    )
    shown = _busiest(n, MIN_COMMON, MAX_ENTRIES)

    def of(label: Int[np.ndarray, " vote"]) -> Float[np.ndarray, " entry"]:
        equal = np.bincount(place, label[first] == label[second], len(code))
        return equal[shown] / n[shown]

    a, b = (_names(votes, workers) for workers in np.divmod(code[shown], votes.n_workers))
    return Statistic(tuple(f"{x} and {y}" for x, y in zip(a, b, strict=True)), of)


STATISTICS: dict[str, Measure] = {
    "agreement": agreement,
    "alpha": alpha,
    "unanimous": unanimous,
    "class-share": class_share,
    "worker-agreement": worker_agreement,
    "worker-labels": worker_labels,
    "worker-confusion": worker_confusion,
    "pair-agreement": pair_agreement,
}


def vote_pairs(
    votes: Votes,
) -> tuple[Int[np.ndarray, " pair"], Int[np.ndarray, " pair"]]:
    """Positions of all two votes of different workers on one item."""
    item, firsts, seconds = votes.item, [], []
    for step in range(1, int(votes.votes_per_item.max())):
        first = np.flatnonzero(item[step:] == item[:-step])
        first = first[votes.worker[first] != votes.worker[first + step]]
        firsts.append(first)
        seconds.append(first + step)
    none = np.zeros(0, dtype=np.int64)
    return np.concatenate([none, *firsts]), np.concatenate([none, *seconds])


def _counter(votes: Votes) -> Callable[[np.ndarray], np.ndarray]:
    """Labels -> how many votes each item has for each class."""
    row, k = votes.item.astype(np.int64) * votes.n_classes, votes.n_classes
    return lambda label: np.bincount(row + label, minlength=votes.n_items * k).reshape(-1, k)


def _pairs_of(n: np.ndarray) -> np.ndarray:
    return n * (n - 1) / 2


def _busiest(n: np.ndarray, least: int, most: int) -> np.ndarray:
    """Codes with at least `least` in `n`; the `most` largest where there are more."""
    enough = np.flatnonzero(n >= least)
    ranked = enough[np.argsort(-n[enough], kind="stable")][:most]
    return np.sort(ranked)


def _names(votes: Votes, workers: np.ndarray) -> list[str]:
    return [str(votes.workers[int(w)]) for w in workers]
