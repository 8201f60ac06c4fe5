"""The rules of GTG one by one, and that it is near the exact value."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import binom

from fedsec.errors import SettingsError
from fedsec.federated.contribution import Exact, Gtg, RoundGame
from fedsec.federated.contribution.gtg import recent_change, stratified_error
from tests.fedsec.federated.contribution.games import (
    additive_game,
    bumpy_game,
    random_game,
    rng,
    saturating_game,
    spread,
)


def fixed(n: int, n_guided: int = 1) -> Gtg:
    """Without truncation or early end."""
    return Gtg(
        eps_round=0.0, eps_permutation=0.0, n_guided=n_guided, tolerance=0.0, max_permutations=n
    )


@pytest.mark.parametrize("n_guided", [0, 1, 2])
def test_many_permutations_are_near_the_exact_value(n_guided: int) -> None:
    game = bumpy_game(5, n_guided)
    found = fixed(2000, n_guided)(game, rng(n_guided))
    assert_allclose(found.values, Exact()(game, rng()).values, atol=0.02 * spread(game))
    assert found.values.sum() == pytest.approx(game.value(31) - game.value(0), abs=1e-9)


def test_guiding_all_places_takes_every_order_and_is_exact() -> None:
    game = random_game(4, seed=3)
    found = fixed(48, n_guided=4)(game, rng())
    assert_allclose(found.values, Exact()(game, rng()).values, atol=1e-12)
    assert_allclose(found.standard_error, 0, atol=1e-12)
    assert_allclose(fixed(48, n_guided=9)(game, rng()).values, found.values)


def test_everybody_leads_equally_often() -> None:
    """Who leads is seen by the first coalition of an order, in a game where later ones add 0."""
    game = RoundGame(5, lambda mask: float(mask != 0))
    assert_allclose(fixed(10)(game, rng()).values, 0.2)
    pairs = RoundGame(4, lambda mask: float(mask.bit_count() > 1) + float(mask != 0))
    assert_allclose(fixed(24, n_guided=2)(pairs, rng()).values, 0.5)


@pytest.mark.parametrize("offset", [0.0, -1e-9])
def test_a_round_that_gained_no_more_than_eps_is_skipped(offset: float) -> None:
    game = additive_game([0.25, -0.125, 0.125])
    found = Gtg(eps_round=0.25 + offset)(game, rng())
    if offset:
        assert found.values.any()
    else:
        assert_array_equal(found.values, 0)
        assert_array_equal(found.interval, 0)
        assert found.n_evaluations == game.n_evaluations == 2
        assert found.n_permutations == 0


def test_a_large_eps_skips_any_round_and_a_loss_counts_like_a_gain() -> None:
    assert not Gtg(eps_round=100.0)(random_game(5, seed=1), rng()).values.any()
    assert Gtg(eps_round=0.1)(additive_game([-1.0, 0.5]), rng()).values[0] == -1


def test_truncation_within_a_round_saves_evaluations() -> None:
    game = saturating_game([2.0] * 10)
    cut = Gtg(eps_permutation=0.05, tolerance=0.0, max_permutations=40)(game, rng())
    full = fixed(40)(game, rng())
    assert cut.n_evaluations < 0.5 * full.n_evaluations
    assert game.value(game.everyone) - 0.05 < cut.values.sum() < game.value(game.everyone)


def test_the_rule_of_convergence_by_hand() -> None:
    means = [np.array([1.0, 2.0]) * (1 + 0.1 * k) for k in range(12)]
    expected = np.mean([0.1 * m / 2.1 for m in range(1, 11)])
    assert recent_change(means) == pytest.approx(expected)
    assert recent_change(means[:10]) == float("inf")


def test_ends_after_whole_cycles_when_settled() -> None:
    game = saturating_game([1.0, 0.8, 0.6, 0.4, 0.2])
    found = Gtg(tolerance=0.05)(game, rng())
    assert found.converged
    assert found.n_permutations % 5 == 0
    assert 10 < found.n_permutations < 1000
    short = Gtg(tolerance=0.0, max_permutations=19)(game, rng())
    assert not short.converged
    assert short.n_permutations == 15


def test_evaluations_are_counted_and_kept_linearly() -> None:
    game = saturating_game(np.linspace(0.01, 0.1, 40))
    found = fixed(80)(game, rng())
    assert found.n_permutations == 80
    assert 1000 < found.n_evaluations == game.n_evaluations <= 80 * 40 + 2


def test_intervals_cover_the_exact_value_in_95_of_100_cases() -> None:
    """Each player's count of covered cases in 300 lies within the 0.1 and 99.9 % of a binomial."""
    n_cases, game = 300, bumpy_game(5, seed=5)
    exact = Exact()(game, rng()).values
    covered = np.zeros(5)
    for seed in range(n_cases):
        low, high = fixed(30)(game, rng(seed)).interval.T
        covered += (low <= exact) & (exact <= high)
    assert covered.min() >= binom.ppf(0.001, n_cases, 0.95)
    assert covered.max() <= binom.ppf(0.999, n_cases, 0.95)


def test_the_stratified_error_is_that_of_one_mean_and_of_many() -> None:
    drawn = rng().standard_normal((6, 1, 3))
    error, freedom = stratified_error(drawn)
    assert_allclose(error, drawn[:, 0].std(axis=0, ddof=1) / np.sqrt(6))
    assert_allclose(freedom, 5)
    means = rng(1).standard_normal((4000, 5, 4, 1)).mean(axis=(1, 2))
    told, _ = stratified_error(rng(2).standard_normal((500, 40, 1)))
    assert means.std() == pytest.approx(1 / np.sqrt(20), rel=0.05)
    assert told == pytest.approx(1 / np.sqrt(500 * 40), rel=0.05)


def test_leaders_that_always_do_the_same_bring_no_error() -> None:
    each = np.arange(12.0).reshape(1, 4, 3)
    error, freedom = stratified_error(np.repeat(each, 3, axis=0))
    assert_array_equal(error, 0)
    assert np.isfinite(freedom).all()


def test_settings_out_of_range_are_refused() -> None:
    for bad in ({"eps_round": -0.1}, {"eps_permutation": -1.0}, {"n_guided": -1}):
        with pytest.raises(SettingsError, match="at least 0"):
            Gtg(**bad)
    with pytest.raises(SettingsError, match="90 ways to lead with n_guided=2 of 10 players"):
        Gtg(n_guided=2, max_permutations=179)(random_game(10, seed=0), rng())
    assert len(list(permutations(range(10), 2))) == 90
