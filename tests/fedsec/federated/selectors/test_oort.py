"""Oort: each rule on a case that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from fedsec.federated.rounds import Round
from fedsec.federated.selectors import Oort
from fedsec.federated.selectors.oort import exploited_utility, scaled, slowness, utility
from tests.fedsec.federated.selectors.histories import played, viewed

COUNTS = np.ones((6, 1), np.int64)


def lost(number: int, chosen: list[int], rms: list[float], n: int = 10, **found: object) -> Round:
    size = np.full(len(chosen), n)
    return played(number, chosen, loss_rms=np.array(rms), n=size, **found)


def test_utility_is_samples_times_rms_loss_of_the_last_round() -> None:
    """0 for a client that diverged, NaN for one that nobody knows."""
    rounds = [lost(1, [0, 1], [2.0, 3.0]), lost(2, [1, 2], [0.5, np.nan], n=20)]
    assert_allclose(utility(viewed(COUNTS, 2, rounds)), [20, 10, 0, np.nan, np.nan, np.nan])


def test_utilities_are_clipped_and_scaled() -> None:
    found = scaled(np.array([100.0, 2.0, 1.0, 3.0]), clip=0.5)
    assert_allclose(found, [1, 1.001 / 2.001, 0.001 / 2.001, 1])
    assert_allclose(scaled(np.array([4.0, 4.0]), clip=0.95), 1)
    assert_allclose(scaled(np.zeros(3), clip=0.95), 0)


def test_a_score_is_utility_and_a_bonus_for_the_time_since() -> None:
    rounds = [lost(1, [0], [5.0]), lost(2, [1], [5.0])]
    bonus = np.sqrt(0.1 * np.log(3) / np.array([1, 2]))
    assert_allclose(Oort().scores(viewed(COUNTS, 1, rounds))[:2], 1 + bonus)
    assert np.isnan(Oort().scores(viewed(COUNTS, 1, rounds))[2:]).all()


def test_slower_clients_are_worth_less() -> None:
    """Quick enough is the quantile of the seconds; a client at 4 of 2 is worth a quarter."""
    seconds = np.array([1.0, 2.0, 4.0, np.nan])
    assert_allclose(slowness(seconds, 0.25, 2.0), [1, 1, 0.25, 1])
    assert_allclose(slowness(seconds, 1.0, 2.0), 1)
    rounds = [lost(1, [0, 1, 2, 3], [5.0] * 4, seconds=np.array([1.0, 2.0, 4.0, 2.0]))]
    calm = Oort().scores(viewed(COUNTS, 1, rounds))
    found = Oort(duration=0.5).scores(viewed(COUNTS, 1, rounds))
    assert_allclose((found / calm)[:4], [1, 1, 0.25, 1])


def test_exploring_fades_to_its_floor_and_ends_with_the_unknown() -> None:
    counts, half = np.ones((40, 1), np.int64), [played(1, list(range(20)))]
    for number, expected in ((1, 1), (2, 1), (14, 5), (15, 5), (100, 8)):
        view = viewed(counts, 10, half, number=number)
        assert Oort().n_exploit(view) == expected
    assert Oort().n_exploit(viewed(counts, 10)) == 0
    known = viewed(counts, 10, [played(1, list(range(40)))], number=2)
    assert Oort().n_exploit(known) == 10
    assert Oort().n_exploit(viewed(counts, 10, [played(1, list(range(35)))])) == 5


def test_those_near_the_last_place_are_exploited_in_proportion() -> None:
    """Two places. Utilities 40, 20, 16, 10 are worth 1, .334, .2, 0, and there is no bonus."""
    view = viewed(COUNTS[:4], 2, [lost(1, [0, 1, 2, 3], [4.0, 2.0, 1.6, 1.0])])
    for cut_off, reached in ((1.0, [0, 1]), (0.7, [0, 1]), (0.5, [0, 1, 2]), (0.0, [0, 1, 2, 3])):
        method = Oort(staleness=0.0, cut_off=cut_off)
        chosen = [method(view, np.random.default_rng(seed)) for seed in range(60)]
        assert set(np.ravel(chosen)) <= set(reached)
        assert {0, 1, *reached[:3]} <= set(np.ravel(chosen))
    n, method = 800, Oort(staleness=0.0, cut_off=0.0)
    first = [method(view, np.random.default_rng(seed))[0] for seed in range(n)]
    expected = method.scores(view) / method.scores(view).sum()
    error = 3.5 * np.sqrt(expected * (1 - expected) / n)
    assert (np.abs(np.bincount(first, minlength=4) / n - expected) <= error).all()


def test_the_unknown_are_explored_by_size_within_a_window() -> None:
    """One place, a window of two: clients of 30 and 10 samples, never the one of 5."""
    counts, n = np.array([[30], [5], [10]]), 800
    view = viewed(counts, 1)
    chosen = [int(Oort(window=2.0)(view, np.random.default_rng(s))[0]) for s in range(n)]
    assert abs(chosen.count(0) / n - 0.75) <= 3 * np.sqrt(0.1875 / n)
    assert chosen.count(1) == 0


def test_clients_of_equal_size_are_explored_evenly() -> None:
    """The window does not favour low ids."""
    view, n = viewed(np.ones((8, 1), np.int64), 1), 1000
    chosen = [int(Oort(window=1.0)(view, np.random.default_rng(s))[0]) for s in range(n)]
    assert (np.abs(np.bincount(chosen, minlength=8) / n - 1 / 8) <= 4 * np.sqrt(0.11 / n)).all()


def test_exploited_are_those_that_took_part_before() -> None:
    rounds = [lost(1, [0, 1], [1.0, 2.0]), lost(2, [1, 2], [3.0, 9.0]), lost(3, [3, 4], [1.0, 1.0])]
    rounds += [lost(4, [0, 1], [np.nan, 5.0])]
    assert_allclose(exploited_utility(viewed(COUNTS, 2, rounds)), [0, 30, 0, 50])


@pytest.mark.parametrize(
    ("rms", "expected"),
    [
        ([1.0] * 8, 0.7),  # flat at 4, 6 and 8 rounds, the first utility being nobody's
        ([1.0, 1.0, 3.0, 3.0, 9.0, 9.0, 27.0, 27.0], 0.5 - 0.1),
        ([1.0, 1.0, 2.0, 2.0, 4.0, 4.0, 8.0, 8.0], 0.5),
    ],
)
def test_the_pacer_follows_the_change_of_utility(rms: list[float], expected: float) -> None:
    rounds = [lost(r, [0], [loss]) for r, loss in enumerate(rms, start=1)]
    method = Oort(duration=0.5, pacer_step=2, pacer_delta=0.1)
    assert_allclose(method.quick_quantile(viewed(COUNTS, 1, rounds)), expected)
    assert Oort(pacer_step=2).quick_quantile(viewed(COUNTS, 1, rounds)) == 1
