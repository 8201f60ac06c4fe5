"""IDBLA worlds: without guessing they are BCC worlds, and easiness is Beta."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import beta, kstest

from crowdlearn.errors import SettingsError
from crowdlearn.evaluation import error
from crowdlearn.simulate import bcc, fixed_idbla, idbla, uniform_pairs


def test_nobody_guesses_where_all_items_are_easy():
    plain, easy = bcc(seed=3), idbla(a=math.inf, seed=3)
    assert_array_equal(easy.votes.label, plain.votes.label)
    assert_array_equal(easy.truth, plain.truth)
    assert_array_equal(easy.difficulty, 0)


def test_difficulty_is_beta_and_guesses_are_shared():
    world = idbla(20_000, a=3.0, b=2.0, seed=1)
    assert kstest(world.difficulty, beta(2, 3).cdf).pvalue > 1e-4
    assert world.guess.sum() == pytest.approx(1)
    assert_allclose(fixed_idbla(n_classes=4).guess, 0.25)


def test_only_the_guess_differs_between_the_two():
    learned, fixed = idbla(2_000, seed=2), fixed_idbla(2_000, seed=2)
    assert_array_equal(learned.difficulty, fixed.difficulty)
    assert_array_equal(learned.confusion, fixed.confusion)
    changed = np.mean(learned.votes.label != fixed.votes.label)
    assert 0 < changed < 2 * fixed.difficulty.mean()


def test_the_stand_in_has_the_published_majority_error():
    worlds = [
        fixed_idbla(1000, 100, 5, a=6.0, alpha=math.inf, assign=uniform_pairs(11615), seed=seed)
        for seed in range(8)
    ]
    errors = [error(world.votes.shares(), world.truth) for world in worlds]
    assert np.mean(errors) == pytest.approx(0.198, abs=0.03)


def test_settings_out_of_range_are_refused():
    with pytest.raises(SettingsError, match="a is 0"):
        idbla(a=0.0)
