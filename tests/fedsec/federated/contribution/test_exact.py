"""Closed forms, the axioms of Shapley, and the mean over all orders."""

from __future__ import annotations

from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose

from fedsec.errors import SettingsError
from fedsec.federated.contribution import Exact, RoundGame
from tests.fedsec.federated.contribution.games import (
    additive_game,
    by_permutations,
    rng,
    table_game,
)

TABLES = st.integers(1, 6).flatmap(
    lambda n: arrays(np.float64, 1 << n, elements=st.floats(-10, 10, width=32))
)
LARGER = st.integers(2, 8).flatmap(
    lambda n: arrays(np.float64, 1 << n, elements=st.floats(-10, 10, width=32))
)


def exact(game: RoundGame) -> np.ndarray:
    return Exact()(game, rng()).values


@settings(max_examples=25)
@given(TABLES)
def test_is_the_mean_over_all_orders(table: np.ndarray) -> None:
    assert_allclose(exact(table_game(table)), by_permutations(table_game(table)), atol=1e-9)


@settings(max_examples=50)
@given(LARGER)
def test_the_values_sum_to_the_gain_of_all(table: np.ndarray) -> None:
    assert exact(table_game(table)).sum() == pytest.approx(table[-1] - table[0], abs=1e-9)


@settings(max_examples=50)
@given(LARGER)
def test_a_null_player_gets_nothing(table: np.ndarray) -> None:
    ignores_first = np.repeat(table[::2], 2)
    assert exact(table_game(ignores_first))[0] == pytest.approx(0, abs=1e-12)


@settings(max_examples=50)
@given(LARGER)
def test_players_alike_get_the_same(table: np.ndarray) -> None:
    masks = np.arange(len(table))
    swapped = (masks & ~3) | (masks & 1) << 1 | (masks & 2) >> 1
    values = exact(table_game((table + table[swapped]) / 2))
    assert values[0] == pytest.approx(values[1], abs=1e-12)


@settings(max_examples=25)
@given(LARGER, st.floats(-3, 3), st.floats(-3, 3))
def test_is_linear_in_the_game(table: np.ndarray, a: float, b: float) -> None:
    other = np.sin(np.arange(len(table)))
    both = exact(table_game(a * table + b * other))
    assert_allclose(both, a * exact(table_game(table)) + b * exact(table_game(other)), atol=1e-9)


@settings(max_examples=50)
@given(LARGER)
def test_the_difference_of_two_players(table: np.ndarray) -> None:
    """The pairwise identity: sum over S without both of w(S) (v(S + k) - v(S + 1))."""
    n = len(table).bit_length() - 1
    values, first, other = exact(table_game(table)), 0, n - 1
    expected = sum(
        factorial(mask.bit_count())
        * factorial(n - mask.bit_count() - 2)
        / factorial(n - 1)
        * (table[mask | 1 << other] - table[mask | 1 << first])
        for mask in range(1 << n)
        if not mask & (1 << first | 1 << other)
    )
    assert values[other] - values[first] == pytest.approx(expected, abs=1e-9)


def test_an_additive_game_pays_what_each_is_worth() -> None:
    worth = np.array([0.5, -2.0, 0.0, 3.25, 1e-3])
    assert_allclose(exact(additive_game(worth, base=-2.3)), worth, atol=1e-12)


def test_glove_game() -> None:
    """Two hold a left glove and one a right one; a pair is worth 1."""
    game = RoundGame(3, lambda mask: float(bool(mask & 3) and bool(mask & 4)))
    assert_allclose(exact(game), [1 / 6, 1 / 6, 2 / 3], atol=1e-12)


def test_airport_game() -> None:
    """Each stretch of the runway is paid by those who need it (Littlechild and Owen 1973)."""
    costs = np.array([1.0, 3.0, 3.0, 7.0, 12.0, 12.5, 20.0])
    n = len(costs)
    game = RoundGame(n, lambda mask: max([c for i, c in enumerate(costs) if mask >> i & 1] or [0]))
    stretches = np.diff(costs, prepend=0) / np.arange(n, 0, -1)
    assert_allclose(exact(game), stretches.cumsum(), atol=1e-12)


@pytest.mark.parametrize(
    ("seats", "power"),
    [
        ((50, 49, 1), (2 / 3, 1 / 6, 1 / 6)),
        ((50, 49, 2), (1 / 3, 1 / 3, 1 / 3)),
        ((40, 20, 20, 20), (1 / 2, 1 / 6, 1 / 6, 1 / 6)),
        ((51, 48, 1), (1, 0, 0)),
    ],
)
def test_weighted_majority(seats: tuple[int, ...], power: tuple[float, ...]) -> None:
    """A coalition wins with more than half of the seats (Shapley and Shubik 1954)."""

    def wins(mask: int) -> float:
        return float(2 * sum(s for i, s in enumerate(seats) if mask >> i & 1) > sum(seats))

    assert_allclose(exact(RoundGame(len(seats), wins)), power, atol=1e-12)


def test_nothing_is_drawn_and_nothing_left_uncertain() -> None:
    generator = rng(3)
    found = Exact()(additive_game([1.0, 2.0]), generator)
    assert generator.random() == rng(3).random()
    assert_allclose(found.standard_error, 0)
    assert_allclose(found.interval, np.stack([found.values] * 2, axis=1))
    assert (found.n_evaluations, found.n_permutations, found.converged) == (4, 0, True)


def test_too_many_players_are_sent_to_monte_carlo() -> None:
    assert Exact()(additive_game([1.0] * 10), rng()).n_evaluations == 1024
    with pytest.raises(SettingsError, match="2048 coalitions.*use MonteCarlo or Gtg"):
        Exact()(additive_game([1.0] * 11), rng())
