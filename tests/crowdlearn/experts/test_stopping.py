"""Stopping keeps its guarantee in the model's own world; one step is exact by enumeration."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

from crowdlearn.errors import SettingsError
from crowdlearn.experts import expert_confusion, next_step, stop_items
from crowdlearn.experts.stopping import EXPERT, STOP, VOTE, doubt_after

POSTERIORS = arrays(np.float64, (12, 3), elements=st.floats(0.001, 1)).map(
    lambda x: x / x.sum(axis=1, keepdims=True)
)


@given(POSTERIORS, st.floats(0, 1))
def test_stops_as_many_as_the_target_allows(posterior: np.ndarray, target: float) -> None:
    doubt = np.sort(1 - posterior.max(axis=1))
    stop = stop_items(posterior, target)
    n = int(stop.sum())
    if n:
        assert doubt[:n].mean() <= target + 1e-9
        assert_allclose(np.sort(1 - posterior[stop].max(axis=1)), doubt[:n])
    if n < 12:
        assert doubt[: n + 1].mean() > target - 1e-9


@given(POSTERIORS, st.integers(0, 11))
def test_what_has_stopped_stays_and_counts(posterior: np.ndarray, before: int) -> None:
    stopped = np.arange(12) == before
    found = stop_items(posterior, 0.2, stopped)
    assert found[before]
    if found.sum() > 1:
        assert (1 - posterior[found].max(axis=1)).mean() <= 0.2 + 1e-9


@pytest.mark.parametrize("target", [0.05, 0.1, 0.2])
def test_the_error_of_stopped_items_is_the_target_in_the_models_own_world(target: float) -> None:
    """Votes come one by one, the rule is applied after each: 300 worlds with known workers."""
    rng = np.random.default_rng(7)
    wrong = stopped_items = 0
    asked, n_items, n_worlds = 0, 60, 300
    for _ in range(n_worlds):
        rows = rng.dirichlet([3.0, 1.0], 8)
        confusion = np.stack([rows, rows[:, ::-1]], axis=1)  # [worker, truth, label]
        truth = rng.integers(0, 2, n_items)
        log_posterior = np.zeros((n_items, 2))
        stop = np.zeros(n_items, dtype=bool)
        for _ in range(8):
            posterior = np.exp(log_posterior - log_posterior.max(axis=1, keepdims=True))
            posterior /= posterior.sum(axis=1, keepdims=True)
            stop = stop_items(posterior, target, stop)
            open_items = np.flatnonzero(~stop)
            worker = rng.integers(0, 8, len(open_items))
            said = rng.random(len(open_items)) > confusion[worker, truth[open_items], 0]
            log_posterior[open_items] += np.log(confusion[worker, :, said.astype(int)])
            asked += len(open_items)
        wrong += int((posterior.argmax(axis=1) != truth)[stop].sum())
        stopped_items += int(stop.sum())
    realised = wrong / stopped_items
    slack = 3 * np.sqrt(target * (1 - target) / stopped_items)
    assert realised <= target + slack
    assert realised >= 0.7 * target  # and it does not ask for more than it needs
    assert asked < 8 * n_items * n_worlds


def by_enumeration(posterior: np.ndarray, rows: np.ndarray, n: int) -> float:
    right = 0.0
    for said in product(range(len(rows)), repeat=n):
        right += (posterior * np.prod(rows[:, list(said)], axis=1)).max()
    return 1 - right


@pytest.mark.parametrize("n", [1, 2, 3])
def test_doubt_after_votes_is_exact(n: int) -> None:
    rng = np.random.default_rng(n)
    posterior, confusion = rng.dirichlet(np.ones(3), 4), rng.dirichlet(np.ones(3), (2, 3))
    expected = [[by_enumeration(p, rows, n) for rows in confusion] for p in posterior]
    assert_allclose(doubt_after(posterior, confusion, n), expected, atol=1e-12)


CROWD = np.stack([expert_confusion(a, 2) for a in (0.6, 0.9, 0.75)])
ITEMS = np.array([[0.99, 0.01], [0.7, 0.3], [0.5, 0.5]])


def test_the_best_worker_is_asked_where_an_answer_pays() -> None:
    step = next_step(ITEMS, CROWD, error_cost=20.0)
    assert_array_equal(step.action, [STOP, VOTE, VOTE])
    assert_array_equal(step.worker, [-1, 1, 1])
    assert step.gain[2] == pytest.approx(20 * 0.4 - 1)  # .5 falls to .1 by the one vote


def test_prices_decide() -> None:
    dear = next_step(ITEMS, CROWD, error_cost=20.0, vote_cost=np.array([1.0, 9.0, 1.0]))
    assert dear.worker[2] == 2
    expert = next_step(ITEMS, CROWD, error_cost=20.0, expert_cost=0.0)
    assert_array_equal(expert.action, [EXPERT] * 3)
    assert_allclose(expert.gain, 20 * (1 - ITEMS.max(axis=1)))
    free = next_step(ITEMS, CROWD, error_cost=0.0)
    assert_array_equal(free.action, [STOP] * 3)
    bad = next_step(ITEMS, CROWD, error_cost=20.0, expert_cost=0.0, expert=np.full((2, 2), 0.5))
    assert (bad.action != EXPERT).all()


def test_several_votes_are_looked_ahead_where_one_cannot_turn_the_label() -> None:
    sure, weak = np.array([[0.85, 0.15]]), expert_confusion(0.8, 2)[None]
    assert next_step(sure, weak, error_cost=100.0, horizon=1).action[0] == STOP
    assert next_step(sure, weak, error_cost=100.0, horizon=3).action[0] == VOTE


def test_nobody_is_asked_twice() -> None:
    voted = np.array([[False, True, False]] * 3)
    assert next_step(ITEMS, CROWD, error_cost=20.0, voted=voted).worker[2] == 2
    everybody = next_step(ITEMS, CROWD, error_cost=20.0, voted=np.ones((3, 3), dtype=bool))
    assert_array_equal(everybody.action, [STOP] * 3)


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(SettingsError, match="from 0 to 1"):
        stop_items(ITEMS, 1.5)
    with pytest.raises(SettingsError, match="at least 0"):
        next_step(ITEMS, CROWD, error_cost=-1.0)
    with pytest.raises(SettingsError, match="horizon at least 1"):
        next_step(ITEMS, CROWD, error_cost=1.0, horizon=0)
