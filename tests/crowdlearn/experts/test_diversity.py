"""Batches without near-copies."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from crowdlearn.experts import alike_by_features, alike_by_votes, choose
from crowdlearn.simulate import dawid_skene
from crowdlearn.votes import Votes


def test_without_likeness_the_most_urgent_come_first_and_ruled_out_never() -> None:
    urgency = np.array([0.1, -np.inf, 0.9, 0.5, 0.9])
    assert_array_equal(choose(urgency, 3), [2, 4, 3])
    assert_array_equal(choose(urgency, 9), [2, 4, 3, 0])
    assert_array_equal(choose(urgency, 9, lambda i: np.zeros(5)), [2, 4, 3, 0])


def test_of_ten_copies_one_is_chosen() -> None:
    """Ten items with the very same votes are the most urgent; five others are less so."""
    item = np.concatenate([np.repeat(np.arange(10), 3), np.repeat(np.arange(10, 15), 3)])
    worker = np.concatenate([np.tile([0, 1, 2], 10), np.arange(3, 18)])
    label = np.concatenate([np.tile([0, 1, 1], 10), np.tile([0, 0, 1], 5)])
    votes = Votes.from_codes(item, worker, label)
    urgency = np.concatenate([np.full(10, 0.9), np.linspace(0.5, 0.3, 5)])
    plain = choose(urgency, 5)
    apart = choose(urgency, 5, alike_by_votes(votes))
    assert (plain < 10).all()
    assert_array_equal(apart, [0, 10, 11, 12, 13])


def test_likeness_by_votes_is_the_jaccard_index() -> None:
    votes = dawid_skene(20, 5, 3, seed=0).votes
    pairs = [
        set(zip(votes.worker[votes.votes_of(i)], votes.label[votes.votes_of(i)], strict=True))
        for i in range(20)
    ]
    likeness = alike_by_votes(votes)
    for i in range(20):
        expected = [len(pairs[i] & p) / max(len(pairs[i] | p), 1) for p in pairs]
        assert_allclose(likeness(i), expected)


def test_likeness_by_features_falls_with_distance() -> None:
    found = alike_by_features(np.array([[0.0], [1.0], [3.0]]), scale=1.0)(0)
    assert_allclose(found, np.exp([-0.0, -0.5, -4.5]))
