"""Marginals telescope, truncation is where it is said to be, and the bound is Hoeffding's."""

from __future__ import annotations

from math import exp

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fedsec.errors import SettingsError
from fedsec.federated.contribution import permutations_needed
from fedsec.federated.contribution.permutations import marginals, relative_change, running_mean
from tests.fedsec.federated.contribution.games import random_game, rng, saturating_game


def test_marginals_are_gains_in_the_order_of_coming() -> None:
    game = random_game(4, seed=1)
    gains = marginals(game, [2, 0, 3, 1], 0.0)
    steps = [0b0000, 0b0100, 0b0101, 0b1101, 0b1111]
    expected = np.diff([game.value(mask) for mask in steps])
    assert_allclose(gains[[2, 0, 3, 1]], expected)


def test_a_place_is_evaluated_only_while_those_before_differ_enough() -> None:
    game = saturating_game([1.0] * 8).counted()
    gains = marginals(game, range(8), 0.05)
    full = 1 - exp(-8)
    cut = next(j for j in range(9) if abs(full - (1 - exp(-j))) < 0.05)
    assert cut == 3
    assert_array_equal(np.flatnonzero(gains), np.arange(cut))
    assert game.n_evaluations == cut + 2  # nobody, everybody, and the first three


def test_the_threshold_itself_is_still_evaluated() -> None:
    game = saturating_game([1.0, 0.5, 0.25])
    gap = game.value(0b111) - game.value(0b001)
    assert marginals(game, [0, 1, 2], gap)[1] != 0
    assert not marginals(game, [0, 1, 2], gap * (1 + 1e-12))[1:].any()


def test_running_means() -> None:
    drawn = rng().standard_normal((20, 3))
    means: list[np.ndarray] = []
    for row in drawn:
        means.append(running_mean(means, row))
    assert_allclose(means, drawn.cumsum(axis=0) / np.arange(1, 21)[:, None])


def test_relative_change() -> None:
    assert relative_change(np.array([2.0, -4.0]), np.array([1.0, -4.0])) == 0.25
    assert relative_change(np.array([0.0, 4.0]), np.array([0.0, 3.0])) == 0.125
    assert relative_change(np.array([0.0]), np.array([1.0])) == float("inf")


def test_the_number_of_permutations_is_that_of_hoeffding() -> None:
    """One value errs by error / sqrt(N) with probability failure / N; marginals span 2r."""
    n_players, r, error, failure = 7, 0.5, 0.2, 0.05
    n = permutations_needed(n_players, r, error, failure)
    each = 2 * exp(-2 * n * (error**2 / n_players) / (2 * r) ** 2)
    assert each <= failure / n_players < each * 1.05
    with pytest.raises(SettingsError, match="above 0"):
        permutations_needed(7, 0.0, 0.2, 0.05)
    with pytest.raises(SettingsError, match="inside"):
        permutations_needed(7, 1.0, 0.2, 1.0)
