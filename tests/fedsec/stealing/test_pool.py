"""The pool is balanced, its answers are its images', and every query is counted."""

from __future__ import annotations

import pytest
import torch

from fedsec.core.functional import state_of
from fedsec.errors import SettingsError
from fedsec.stealing.generators import make_generator
from fedsec.stealing.oracle import ModelOracle
from fedsec.stealing.pool import balanced_pool
from tests.fedsec.stealing.toys import SHAPE, FirstRow, generator, linear_oracle, linear_victim

N = 400


def two_classes(**settings):
    net = FirstRow()
    return ModelOracle(net, state_of(net), SHAPE, 2, **settings)


def pool_of(oracle, n=N, seed=0, **settings):
    settings = {"latent": 32, "chunk": 100} | settings
    return balanced_pool(make_generator(SHAPE, 32, seed), oracle, n, generator(seed), **settings)


def test_each_of_two_classes_has_half_of_the_codes():
    oracle = two_classes()
    pool = pool_of(oracle, max_rounds=300)
    assert torch.bincount(pool.answers).tolist() == [N // 2, N // 2]
    assert pool.kept.tolist() == [N // 2, N // 2]
    assert pool.z.shape == (N, 32) and pool.x.shape == (N, *SHAPE)
    assert pool.queries == oracle.queries == 100 * pool.n_rounds


@pytest.mark.parametrize("n_classes", [3, 5])
def test_no_class_has_more_than_its_share_while_searching(n_classes):
    oracle = linear_oracle(n_classes)
    pool = pool_of(oracle, max_rounds=3)
    assert int(pool.kept.max()) <= -(-N // n_classes)
    filled = N - int(pool.kept.sum())
    assert pool.queries == oracle.queries == 300 + filled
    found = torch.bincount(pool.answers, minlength=n_classes)
    assert int(found.sum()) == N and (found >= pool.kept).all()


def test_answers_are_those_of_the_images_in_the_same_row():
    pool = pool_of(linear_oracle(4))
    assert torch.equal(linear_victim(4)[0](pool.x).argmax(dim=1), pool.answers)


def test_one_chunk_can_be_made_again_from_its_codes():
    net = make_generator(SHAPE, 32, 0)
    pool = balanced_pool(net, two_classes(), N, generator(), latent=32, factor=0)
    assert pool.n_rounds == 0 and pool.queries == N
    torch.testing.assert_close(net(pool.z).detach(), pool.x, rtol=1e-4, atol=1e-5)


def test_probabilities_are_balanced_by_their_largest():
    pool = pool_of(two_classes(mode="probabilities"), max_rounds=300)
    assert pool.answers.shape == (N, 2)
    assert torch.bincount(pool.answers.argmax(dim=1)).tolist() == [N // 2, N // 2]


@pytest.mark.parametrize("budget", [N, N + 99, N + 100, 2 * N])
def test_a_search_leaves_enough_to_fill_the_pool(budget):
    oracle = linear_oracle(5, budget=budget)
    pool = pool_of(oracle, max_rounds=40)
    assert len(pool.z) == N and pool.queries == oracle.queries <= budget


def test_a_seed_is_a_pool():
    first, again, other = (pool_of(two_classes(), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.z, again.z) and torch.equal(first.x, again.x)
    assert not torch.equal(first.z, other.z)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"n": 1}, "pool of 1"),
        ({"chunk": 1}, "chunks of 1"),
        ({"factor": 1.5}, "factor = 1.5"),
        ({"max_rounds": -1}, "max_rounds"),
        ({"n": 501}, "leaves 500 queries.*at least 501"),
    ],
)
def test_settings_out_of_range_and_a_budget_too_small_are_refused(settings, message):
    oracle = two_classes(budget=500)
    with pytest.raises(SettingsError, match=message):
        pool_of(oracle, **settings)
    assert oracle.queries == 0
