"""Near the exact value, within intervals that say how near, at the cost that is counted."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import binom

from fedsec.errors import SettingsError
from fedsec.federated.contribution import Exact, MonteCarlo
from tests.fedsec.federated.contribution.games import (
    additive_game,
    bumpy_game,
    random_game,
    rng,
    saturating_game,
    spread,
)


def fixed(n: int) -> MonteCarlo:
    """Unbiased: nothing is cut off, and the number of permutations does not depend on the draws."""
    return MonteCarlo(truncation=0.0, tolerance=0.0, max_permutations=n)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_many_permutations_are_near_the_exact_value(seed: int) -> None:
    game = bumpy_game(5, seed)
    found = fixed(2000)(game, rng(seed))
    assert_allclose(found.values, Exact()(game, rng()).values, atol=0.02 * spread(game))
    assert found.values.sum() == pytest.approx(game.value(31) - game.value(0), abs=1e-9)


def test_intervals_cover_the_exact_value_in_95_of_100_cases() -> None:
    """Each player's count of covered cases in 300 lies within the 0.1 and 99.9 % of a binomial."""
    n_cases, game = 300, bumpy_game(4, seed=5)
    exact = Exact()(game, rng()).values
    covered = np.zeros(4)
    for seed in range(n_cases):
        low, high = fixed(30)(game, rng(seed)).interval.T
        covered += (low <= exact) & (exact <= high)
    assert covered.min() >= binom.ppf(0.001, n_cases, 0.95)
    assert covered.max() <= binom.ppf(0.999, n_cases, 0.95)


def test_the_standard_error_is_the_spread_of_repeated_estimates() -> None:
    game = bumpy_game(4, seed=6)
    found = [fixed(20)(game, rng(seed)) for seed in range(300)]
    spread_of_values = np.std([one.values for one in found], axis=0)
    told = np.sqrt(np.mean([one.standard_error**2 for one in found], axis=0))
    assert_allclose(told, spread_of_values, rtol=0.15)


def test_an_additive_game_has_no_error() -> None:
    found = fixed(10)(additive_game([1.0, -2.0, 0.5]), rng())
    assert_allclose(found.values, [1.0, -2.0, 0.5])
    assert_allclose(found.standard_error, 0, atol=1e-12)


def test_evaluations_are_counted_and_kept_linearly() -> None:
    """40 players have 10**12 coalitions; 50 orders ask for 50 * 40 + 1 at most."""
    game = saturating_game(np.linspace(0.01, 0.1, 40))
    found = fixed(50)(game, rng())
    assert found.n_permutations == 50
    assert 1000 < found.n_evaluations == game.n_evaluations <= 50 * 40 + 2


def test_what_a_game_knew_already_counts_for_the_method_but_costs_nothing() -> None:
    game = random_game(4, seed=0)
    first = fixed(20)(game, rng())
    computed = game.n_evaluations
    second = fixed(20)(game, rng())
    assert first.n_evaluations == second.n_evaluations == computed == game.n_evaluations
    assert_allclose(first.values, second.values, rtol=0)


def test_truncation_saves_evaluations_at_a_bounded_loss_in_sum() -> None:
    game = saturating_game([2.0, 1.5, 1.0, 1.0, 0.5, 0.5, 0.3, 0.2])
    gain = game.value(game.everyone) - game.value(0)
    full = fixed(100)(game, rng())
    cut = MonteCarlo(truncation=0.1, tolerance=0.0, max_permutations=100)(game, rng())
    assert cut.n_evaluations < 0.8 * full.n_evaluations
    assert 0 < gain - cut.values.sum() < 0.1 * gain
    assert (cut.values <= full.values + 1e-12).all()  # of a monotone game only gains are cut off


def test_stops_when_the_values_have_settled() -> None:
    game = saturating_game([1.0, 0.8, 0.6, 0.4])
    found = MonteCarlo(window=50, tolerance=0.05)(game, rng())
    assert found.converged
    assert 50 < found.n_permutations < 1000
    assert not MonteCarlo(tolerance=0.0, max_permutations=60)(game, rng()).converged
    assert MonteCarlo(window=100)(additive_game([1.0]), rng()).n_permutations == 101


def test_settings_out_of_range_are_refused() -> None:
    for bad in ({"truncation": -0.1}, {"tolerance": -1.0}, {"window": 0}, {"max_permutations": 1}):
        with pytest.raises(SettingsError, match="at least"):
            MonteCarlo(**bad)
