"""What would the expert's answer on an item change, there and on all other items?

An answer settles its own item. It also says which of the item's workers were right, and so moves
every other item that they voted on. For each answer y that the expert may give, of probability
p(y), the counts of the item's workers go from the item's posterior before to that after, and the
other items' posteriors follow by the change of their workers' mean rows. The gain of an item is

    own f(before) - E f(after)  +  sum over other items j of  f(E p(t_j | y)) - E f(p(t_j | y)),

with E over p(y). Both parts are at least 0 for a concave f. With f the probability of a wrong label
this is the expected error reduction (Roy and McCallum, 2001, ICML); with f the entropy it is the
information that the answer has on its own truth plus that on each other truth, in nats.

Why not the information on truths and confusion matrices together? Because that is the entropy of
the item and no more: given its truth, a perfect expert's answer says nothing new. What it teaches
about workers counts by what it does to other items.

One pass: second-order effects (other items moving the workers again) are left out.
"""

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np
from jaxtyping import Float
from numba import njit

from crowdlearn.errors import SettingsError
from crowdlearn.experts.acquisition import entropy
from crowdlearn.experts.belief import Belief

LEAST = 1e-9  # a count never falls below


def expected_error_reduction(
    belief: Belief,
    *,
    expert: Float[np.ndarray, "class class"] | None = None,
    most_items: int = 2000,
    most_votes: int = 1000,
) -> Float[np.ndarray, " item"]:
    """By how many wrong labels, among all items, an answer on each item is expected to cut.

    `expert` is the expert's confusion matrix [truth, answer]; None is an expert who never errs.
    Effects on others are worked out for the `most_items` items of largest entropy (the rest count
    for themselves alone), through at most `most_votes` votes of a worker, evenly spaced and weighed
    up. Raises SettingsError for a confusion matrix of another size or whose rows do not sum to 1.
    """
    return _gain(belief, expert, most_items, most_votes, True)


def expected_information_gain(
    belief: Belief,
    *,
    expert: Float[np.ndarray, "class class"] | None = None,
    most_items: int = 2000,
    most_votes: int = 1000,
) -> Float[np.ndarray, " item"]:
    """Information of an answer on the item's truth plus that on every other item's, in nats.

    Settings and errors as in `expected_error_reduction`.
    """
    return _gain(belief, expert, most_items, most_votes, False)


def _gain(
    belief: Belief,
    expert: Float[np.ndarray, "class class"] | None,
    most_items: int,
    most_votes: int,
    of_error: bool,
) -> Float[np.ndarray, " item"]:
    tau, votes = np.ascontiguousarray(belief.posterior), belief.votes
    rows = np.eye(votes.n_classes) if expert is None else expert
    check_expert(rows, votes.n_classes)
    unsure = np.argsort(-entropy(tau), kind="stable")
    near = np.zeros(votes.n_items, dtype=np.bool_)
    near[unsure[:most_items]] = True
    by_worker, order = votes.by_worker
    gain: np.ndarray = _gains(
        near, tau, np.ascontiguousarray(belief.counts), votes.item_offsets, votes.worker,
        votes.label, by_worker, order, votes.item, np.ascontiguousarray(rows), most_votes, of_error,
    )  # fmt: skip
    return gain


def check_expert(rows: np.ndarray, n_classes: int) -> None:
    """Raises SettingsError for what is not a confusion matrix of so many classes."""
    if rows.shape != (n_classes, n_classes):
        raise SettingsError(
            f"the expert's confusion matrix has shape {rows.shape}, where {n_classes} classes need "
            f"({n_classes}, {n_classes})"
        )
    if not (np.all(rows >= 0) and np.allclose(rows.sum(axis=1), 1)):
        raise SettingsError("the rows [truth, answer] of the expert's confusion must sum to 1")


@njit(nogil=True, cache=True)
@no_type_check
def _gains(
    near, tau, counts, offsets, worker, label, by_worker, order, item, expert, most_votes, of_error
):
    n_items, n_classes = tau.shape
    gain = np.zeros(n_items)
    place = np.full(n_items, -1)
    after = np.empty((n_classes, n_classes))
    chance = np.empty(n_classes)
    for i in range(n_items):
        for y in range(n_classes):
            chance[y] = 0.0
            for k in range(n_classes):
                after[y, k] = tau[i, k] * expert[k, y]
                chance[y] += after[y, k]
            for k in range(n_classes):
                after[y, k] = after[y, k] / chance[y] if chance[y] > 0 else tau[i, k]
        gain[i] = _gap(tau[i], chance, after, np.zeros((n_classes, n_classes)), of_error, True)
        if not near[i] or gain[i] <= 0:
            continue
        others, weight = _others(i, offsets, worker, by_worker, order, item, most_votes, place)
        shift = np.zeros((len(others), n_classes, n_classes))
        for v in range(offsets[i], offsets[i + 1]):
            w = worker[v]
            moved = _moved(counts[w], label[v], tau[i], after)
            n = by_worker[w + 1] - by_worker[w]
            for at in range(by_worker[w], by_worker[w + 1], (n + most_votes - 1) // most_votes):
                other = order[at]
                j = item[other]
                if j != i:
                    shift[place[j]] += moved[:, :, label[other]]
        for at in range(len(others)):
            j = others[at]
            gain[i] += weight[at] * _gap(tau[j], chance, after, shift[at], of_error, False)
            place[j] = -1
    return gain


@njit(nogil=True, cache=True)
@no_type_check
def _others(i, offsets, worker, by_worker, order, item, most_votes, place):
    """Items sharing a worker with item `i`, numbered in `place`, and how many each stands for."""
    total = 0
    for v in range(offsets[i], offsets[i + 1]):
        total += min(by_worker[worker[v] + 1] - by_worker[worker[v]], most_votes)
    others, weight = np.empty(total, np.int64), np.empty(total)
    found = 0
    for v in range(offsets[i], offsets[i + 1]):
        w = worker[v]
        step = (by_worker[w + 1] - by_worker[w] + most_votes - 1) // most_votes
        for at in range(by_worker[w], by_worker[w + 1], step):
            j = item[order[at]]
            if j != i and place[j] < 0:
                place[j] = found
                others[found] = j
                weight[found] = step
                found += 1
    return others[:found], weight[:found]


@njit(nogil=True, cache=True)
@no_type_check
def _moved(counts, said, tau, after):
    """[answer, truth, label]: by how much the log of a worker's mean row moves with the answer."""
    n = len(tau)
    moved = np.empty((n, n, n))
    for k in range(n):
        total = counts[k].sum()
        for y in range(n):
            more = after[y, k] - tau[k]
            all_rows = math.log(max(total + more, LEAST) / total)
            for a in range(n):
                moved[y, k, a] = -all_rows
            moved[y, k, said] += math.log(max(counts[k, said] + more, LEAST) / counts[k, said])
    return moved


@njit(nogil=True, cache=True)
@no_type_check
def _gap(tau, chance, after, shift, of_error, own):
    """f(mean over answers) - mean over answers of f, for one item."""
    n = len(tau)
    mean, row = np.zeros(n), np.empty(n)
    expected = 0.0
    for y in range(n):
        if chance[y] <= 0:
            continue
        total = 0.0
        for k in range(n):
            row[k] = after[y, k] if own else tau[k] * math.exp(shift[y, k])
            total += row[k]
        for k in range(n):
            row[k] /= total
            mean[k] += chance[y] * row[k]
        expected += chance[y] * _doubt(row, of_error)
    return max(_doubt(mean, of_error) - expected, 0.0)


@njit(nogil=True, cache=True)
@no_type_check
def _doubt(row, of_error):
    if of_error:
        return 1.0 - row.max()
    found = 0.0
    for p in row:
        if p > 0:
            found -= p * math.log(p)
    return found
