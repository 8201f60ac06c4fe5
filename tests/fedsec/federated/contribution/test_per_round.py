"""FedSV is the sum over rounds, and its variance the sum of theirs."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import binom

from fedsec.errors import SettingsError
from fedsec.federated.contribution import Exact, FedSV, MonteCarlo, PlayedRound, RoundGame
from tests.fedsec.federated.contribution.games import additive_game, random_game, rng

FIXED = MonteCarlo(truncation=0.0, tolerance=0.0, max_permutations=20)


def played(n_rounds: int, seed: int = 0) -> list[PlayedRound]:
    """Random games of 3 of 5 clients."""
    draw = rng(seed)
    return [
        PlayedRound(random_game(3, seed=100 * seed + t), draw.permutation(5)[:3])
        for t in range(n_rounds)
    ]


def test_is_the_sum_over_the_rounds_in_which_a_client_was_chosen() -> None:
    rounds = played(6)
    found = FedSV()(rounds, 5, rng())
    expected = np.zeros(5)
    for one in rounds:
        values = Exact()(one.game, rng()).values
        for client, value in zip(one.chosen, values, strict=True):
            expected[client] += value
    assert_allclose(found.values, expected)
    assert found.n_evaluations == 6 * 8
    gains = sum(one.game.value(7) - one.game.value(0) for one in rounds)
    assert found.values.sum() == pytest.approx(gains, abs=1e-9)


def test_variances_add() -> None:
    rounds = played(4)
    draws, again = rng(1), rng(1)
    found = FedSV(within=FIXED)(rounds, 5, draws)
    variance = np.zeros(5)
    for one in rounds:
        variance[one.chosen] += FIXED(one.game, again).standard_error ** 2
    assert_allclose(found.standard_error**2, variance)
    assert found.n_permutations == 80


def test_one_round_keeps_its_interval() -> None:
    game = random_game(3, seed=1)
    alone = FIXED(game, rng(2))
    found = FedSV(within=FIXED)([PlayedRound(game, np.arange(3))], 3, rng(2))
    assert_allclose(found.interval, alone.interval)


def test_intervals_cover_the_exact_sum() -> None:
    """In each case another five rounds; in at least what a binomial of 95 % has at 0.1 %."""
    rounds = played(5)
    exact = FedSV()(rounds, 5, rng()).values
    covered, n_cases = np.zeros(5), 150
    for seed in range(n_cases):
        low, high = FedSV(within=FIXED)(rounds, 5, rng(seed)).interval.T
        covered += (low - 1e-12 <= exact) & (exact <= high + 1e-12)
    assert covered.min() >= binom.ppf(0.001, n_cases, 0.95)


def test_rounds_may_be_a_generator_of_large_federations() -> None:
    rounds = (PlayedRound(additive_game([1.0, 2.0]), np.array([t, 999])) for t in range(10))
    found = FedSV()(rounds, 1000, rng())
    assert found.values[999] == 20
    assert found.values[:10].tolist() == [1] * 10
    assert not found.values[10:999].any()


def test_settings_name_the_method_within() -> None:
    found = FedSV(within=FIXED)(played(1), 5, rng())
    assert found.method == "fedsv"
    within = found.settings["within"]
    assert (within["method"], within["max_permutations"]) == ("monte-carlo", 20)


def test_clients_that_do_not_fit_are_refused() -> None:
    game: RoundGame = additive_game([1.0, 2.0])
    with pytest.raises(SettingsError, match="for 2 players"):
        PlayedRound(game, np.array([1, 2, 3]))
    with pytest.raises(SettingsError, match="one different client for each"):
        PlayedRound(game, np.array([1, 1]))
    with pytest.raises(SettingsError, match="not all of 0 to 4"):
        FedSV()([PlayedRound(game, np.array([1, 5]))], 5, rng())
