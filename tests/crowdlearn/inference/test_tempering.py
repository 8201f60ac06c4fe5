"""Discounting: its two ends, its held-out predictions, and what it learns of made-up crowds."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from crowdlearn.aggregators.calibrated import Calibrated
from crowdlearn.inference.tempering import (
    CORRELATIONS,
    POWERS,
    HeldOut,
    Tempering,
)
from crowdlearn.predictors.base import tempered
from crowdlearn.votes import Votes

PRIOR = np.array([0.5, 0.3, 0.2])


def test_without_correlation_it_is_bayes_rule() -> None:
    evidence = np.log(np.random.default_rng(0).uniform(size=(6, 3)))
    expected = PRIOR * np.exp(evidence)
    expected /= expected.sum(axis=1, keepdims=True)
    assert_allclose(tempered(np.log(PRIOR), evidence, np.arange(6), 1.0, 0.0), expected)


def test_fully_correlated_votes_are_worth_one() -> None:
    one = np.log(np.array([[0.7, 0.2, 0.1]]))
    for n in (1, 2, 10):
        many = tempered(np.log(PRIOR), n * one, np.array([n]), 1.0, 1.0)
        assert_allclose(many, tempered(np.log(PRIOR), one, np.array([1]), 1.0, 0.0))


def test_held_out_predictions_are_those_of_the_formula() -> None:
    """Every sampled vote on a left-out item, predicted from the others by the definition."""
    rng = np.random.default_rng(1)
    votes = Votes.from_codes(
        np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 2, 0, 1, 2]), np.array([0, 1, 1, 2, 2, 0])
    )
    likelihood = rng.dirichlet(np.ones(3), size=(3, 3)).transpose(0, 2, 1)
    held_out = HeldOut.of(votes, np.array([-1, -1, -1]), rng)
    assert held_out.sample.tolist() == [0, 1, 2, 3, 4]  # the last vote has none beside it
    own = likelihood[votes.worker, votes.label]
    evidence = np.stack([np.log(own[votes.votes_of(i)]).sum(axis=0) for i in range(3)])
    held_out.add(votes, np.array([True, False, True]), PRIOR, likelihood, evidence)
    for p, power in enumerate(POWERS):
        for c, correlation in enumerate(CORRELATIONS):
            for v in range(3):
                others = np.prod(np.delete(own[:3], v, axis=0), axis=0)
                belief = PRIOR**power * others ** (1 / (1 + correlation))
                expected = (belief / belief.sum()) @ own[v]
                assert_allclose(held_out.sums[p, c, v], expected)
    assert held_out.times.tolist() == [1, 1, 1, 0, 0]


def test_where_nothing_can_be_predicted_votes_count_fully() -> None:
    votes = Votes.from_codes(np.arange(4), np.zeros(4, int), np.array([0, 1, 0, 1]))
    nothing = HeldOut.of(votes, np.full(4, -1), np.random.default_rng(0))
    assert nothing.best() == Tempering(1.0, 0.0)


@pytest.fixture(scope="module")
def followers() -> tuple[Votes, Votes, np.ndarray]:
    """Two crowds of equal skill: in the first votes are independent, in the second all follow.

    In the second crowd one hidden draw an item decides the labels of two thirds of its voters.
    """
    rng = np.random.default_rng(5)
    n, m = 800, 8
    truth = rng.integers(0, 2, n)
    item, worker = np.repeat(np.arange(n), m), np.tile(np.arange(m), n)
    right = rng.random((n, m)) < 0.75
    leader = rng.random((n, 1)) < 0.75
    follows = rng.random((n, m)) < 2 / 3
    crowds = [
        Votes.from_codes(item, worker, np.where(one, truth[:, None], 1 - truth[:, None]).ravel())
        for one in (right, np.where(follows, leader, right))
    ]
    return crowds[0], crowds[1], truth


def test_independent_votes_are_found_independent(
    followers: tuple[Votes, Votes, np.ndarray],
) -> None:
    fit = Calibrated(unseen=1.0).fit(followers[0])
    assert fit.predictor.correlation[0] < 0.05  # type: ignore[attr-defined]


def test_followers_are_found_out_without_truth(
    followers: tuple[Votes, Votes, np.ndarray],
) -> None:
    """Two voters of an item share the hidden draw with probability 4/9."""
    fit = Calibrated(unseen=1.0).fit(followers[1])
    assert fit.predictor.correlation[0] > 0.15  # type: ignore[attr-defined]
