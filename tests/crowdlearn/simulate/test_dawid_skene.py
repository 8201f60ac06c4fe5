"""Given, Dawid-Skene, one-coin and BCC workers have the distributions their settings say."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import beta, kstest, uniform

from crowdlearn.errors import SettingsError
from crowdlearn.simulate import bcc, dawid_skene, given_workers, one_coin
from crowdlearn.simulate.world import spread_errors


def diagonals(confusion: np.ndarray) -> np.ndarray:
    return confusion[:, np.arange(confusion.shape[1]), np.arange(confusion.shape[1])]


def test_accuracies_are_uniform_in_their_range():
    world = dawid_skene(10, 3_000, 3, accuracy=(0.4, 0.8))
    assert kstest(diagonals(world.confusion).ravel(), uniform(0.4, 0.4).cdf).pvalue > 1e-4


def test_one_coin_accuracies_are_beta_and_errors_uniform():
    world = one_coin(10, 3_000, 4, a=5.0, b=2.0)
    right = diagonals(world.confusion)
    assert_allclose(right, right[:, :1].repeat(4, axis=1))
    assert kstest(right[:, 0], beta(5, 2).cdf).pvalue > 1e-4
    assert_allclose(world.confusion, spread_errors(right, np.ones((3_000, 4, 4))))


def test_bcc_rows_and_prior_are_dirichlet():
    world = bcc(10, 3_000, 3, off=1.5, diag=4.0, alpha=2.0)
    assert kstest(diagonals(world.confusion)[:, 1], beta(4, 3).cdf).pvalue > 1e-4
    assert kstest(world.confusion[:, 2, 0], beta(1.5, 5.5).cdf).pvalue > 1e-4
    priors = np.array(
        [
            bcc(
                1, 3, 3, assign=lambda rng, i, w: (np.zeros(1, np.int32),) * 2, alpha=2.0, seed=s
            ).prior[0]
            for s in range(300)
        ]
    )
    assert kstest(priors, beta(2, 4).cdf).pvalue > 1e-4
    assert_allclose(bcc(10, 5, 3, alpha=float("inf")).prior, 1 / 3)


def test_given_truth_and_workers_are_taken_as_they_are():
    truth = np.array([2, 0, 1, 1])
    perfect = np.repeat(np.eye(3)[None], 5, axis=0)
    world = given_workers(perfect, np.array([0.2, 0.3, 0.5]), truth=truth)
    assert_array_equal(world.truth, truth)
    assert_array_equal(world.votes.label, truth[world.votes.item])
    assert_allclose(world.prior, [0.2, 0.3, 0.5])


def test_impossible_workers_are_refused():
    with pytest.raises(SettingsError, match="not a distribution"):
        given_workers(np.full((2, 3, 3), 0.5))
    with pytest.raises(SettingsError, match="class codes from 0 to 1"):
        given_workers(np.full((5, 2, 2), 0.5), truth=np.array([0, -1]))
    with pytest.raises(SettingsError, match="accuracy is"):
        dawid_skene(accuracy=(0.9, 0.5))
    with pytest.raises(SettingsError, match="off is 0"):
        bcc(off=0.0)
    with pytest.raises(SettingsError, match="alpha is -1"):
        bcc(alpha=-1.0)
