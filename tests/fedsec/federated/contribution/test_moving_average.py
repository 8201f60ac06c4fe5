"""The moving average by hand, and weights that sum to one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from fedsec.errors import SettingsError
from fedsec.federated.contribution import MonteCarlo, PlayedRound, ShapleyFL, aggregation_shares
from fedsec.federated.contribution.moving_average import moved, stretched
from tests.fedsec.federated.contribution.games import additive_game, random_game, rng


def test_two_rounds_by_hand() -> None:
    rounds = [
        PlayedRound(additive_game([-1.0, 1.0, 3.0]), np.array([2, 0, 1])),
        PlayedRound(additive_game([5.0, 4.0]), np.array([1, 3])),
    ]
    found = ShapleyFL(decay=0.75)(rounds, 5, rng())
    first = {2: 0.0, 0: 0.5, 1: 1.0}
    expected = np.full(5, 0.5)
    for client, value in first.items():
        expected[client] = 0.75 * 0.5 + 0.25 * value
    expected[1] = 0.75 * expected[1] + 0.25 * 1
    expected[3] = 0.75 * expected[3] + 0.25 * 0
    assert_allclose(found.values, expected)
    assert found.values[4] == 0.5  # never chosen


def test_stretched_values() -> None:
    assert_allclose(stretched(np.array([-2.0, 0.0, 2.0])), [0, 0.5, 1])
    assert_allclose(stretched(np.array([3.0, 3.0])), 0.5)


def test_who_is_not_chosen_keeps_its_surrogate_and_the_input_is_left_alone() -> None:
    before = np.array([0.1, 0.2, 0.3])
    after = moved(before, np.array([2, 0]), np.array([1.0, 4.0]), 0.5)
    assert_allclose(after, [0.55, 0.2, 0.15])
    assert_allclose(before, [0.1, 0.2, 0.3])


def test_weights_sum_to_one() -> None:
    surrogate = np.array([0.2, 0.9, 0.6, 0.0])
    assert_allclose(aggregation_shares(surrogate, np.array([2, 0])), [0.75, 0.25])
    assert_allclose(aggregation_shares(surrogate, np.array([3])), [1.0])


def test_errors_follow_the_average_and_intervals_stay_in_range() -> None:
    within = MonteCarlo(truncation=0.0, tolerance=0.0, max_permutations=20)
    game = random_game(3, seed=2)
    alone = within(game, rng(1))
    found = ShapleyFL(within=within, decay=0.5)([PlayedRound(game, np.arange(3))], 4, rng(1))
    assert_allclose(found.standard_error[:3], 0.5 * alone.standard_error / np.ptp(alone.values))
    assert found.standard_error[3] == 0
    assert found.interval.min() >= 0
    assert found.interval.max() <= 1


def test_a_decay_of_one_would_never_learn() -> None:
    for decay in (-0.1, 1.0):
        with pytest.raises(SettingsError, match="below 1"):
            ShapleyFL(decay=decay)
