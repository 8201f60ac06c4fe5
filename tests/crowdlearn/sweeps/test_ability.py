from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize_scalar

from crowdlearn.sweeps.ability import AbilitySweeper
from crowdlearn.votes import Votes

CENTRE, SPREAD = 1.0, 0.8


def abilities(n_workers: int) -> np.ndarray:
    return np.random.default_rng(1).normal(1, 1, n_workers)


def test_an_item_settles_where_its_height_is_greatest(world: tuple[Votes, np.ndarray]) -> None:
    votes, _ = world
    home, ability = AbilitySweeper(votes, np.full(120, -1, dtype=np.int32)), abilities(12)
    log_easiness, posterior = home.settle(ability, CENTRE, SPREAD)
    again = np.empty_like(posterior)
    home.climb(ability, log_easiness, again)
    assert_allclose(again, posterior, atol=1e-12)
    for item in range(0, 120, 10):
        one = AbilitySweeper(
            votes.only_items(np.arange(120) == item), np.full(1, -1, dtype=np.int32)
        )
        row = np.empty((1, 3))
        found = minimize_scalar(
            lambda b, one=one, row=row: (
                ((b - CENTRE) / SPREAD) ** 2 / 2 - one.climb(ability, np.array([float(b)]), row)[0]
            ),
            bounds=(log_easiness[item] - 0.5, log_easiness[item] + 0.5),
            method="bounded",
            options={"xatol": 1e-9},
        )
        assert abs(found.x - log_easiness[item]) < 1e-5


def test_an_item_without_votes_keeps_its_prior() -> None:
    votes = Votes.from_codes(np.array([0]), np.array([0]), np.array([1]), items=2, classes=4)
    home = AbilitySweeper(votes, np.full(2, -1, dtype=np.int32))
    log_easiness, posterior = home.settle(np.ones(1), CENTRE, SPREAD)
    assert log_easiness[1] == CENTRE
    assert_allclose(posterior[1], 1 / 4)


def test_great_abilities_neither_overflow_nor_lose_the_posterior() -> None:
    item, worker = np.repeat(np.arange(2), 3), np.tile(np.arange(3), 2)
    votes = Votes.from_codes(item, worker, np.array([0, 1, 1, 0, 0, 1]))
    home = AbilitySweeper(votes, np.full(2, -1, dtype=np.int32))
    posterior = np.empty((2, 2))
    found = home.climb(np.array([1e3, 1e3, -1e3]), np.array([2.0, 2.0]), posterior)
    assert np.isfinite(found[0]) and np.isfinite(found[1]).all() and np.isfinite(found[2]).all()
    assert_allclose(posterior, [[1, 0], [1, 0]], atol=1e-12)


def test_blocks_and_threads_do_not_matter(
    world: tuple[Votes, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    votes, _ = world
    gold = np.full(120, -1, dtype=np.int32)
    log_easiness, whole = np.linspace(-1, 2, 120), np.empty((120, 3))
    one = AbilitySweeper(votes, gold).climb(abilities(12), log_easiness, whole)
    monkeypatch.setattr("crowdlearn.sweeps.cpu.VOTES_A_BLOCK", 50)
    cut, cuts = AbilitySweeper(votes, gold, 1), AbilitySweeper(votes, gold, 3)
    assert len(cut.blocks) > 4
    parts = [home.climb(abilities(12), log_easiness, np.empty((120, 3))) for home in (cut, cuts)]
    for serial, threaded, together in zip(*parts, one, strict=True):
        assert_array_equal(serial, threaded)
        assert_allclose(serial, together, rtol=1e-10, atol=1e-12)
