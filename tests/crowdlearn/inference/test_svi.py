"""Guides have the entropy they claim; the bound stays under the evidence, and near it."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from numpy.testing import assert_allclose, assert_array_equal

from crowdlearn.aggregators.bcc import dirichlet_prior
from crowdlearn.aggregators.engines import GUIDES as NAMED
from crowdlearn.errors import SettingsError
from crowdlearn.inference.batches import stacked_batches
from crowdlearn.inference.guides import GUIDES
from crowdlearn.inference.posterior import Samples
from crowdlearn.inference.svi import _loss, _problems, run_svi
from crowdlearn.inference.target import target_of
from crowdlearn.models import STORIES, vote_data
from crowdlearn.votes import Votes
from tests.crowdlearn.aggregators.oracles import bcc_log_joint
from tests.crowdlearn.inference import stories

NOBODY = np.full(3, -1)


def fitted(votes: Votes, gold: np.ndarray, story: Any = STORIES["bcc"], **settings: Any) -> Samples:
    batches = stacked_batches(votes, gold, settings.pop("batch_items", 0), np.random.default_rng(0))
    data = vote_data(votes, gold)
    target = target_of(story, {}, data)
    return run_svi(target, data, batches, votes.shares(), jax.random.key(0), **settings)


@pytest.mark.parametrize("name", [n for n in GUIDES if n != "delta"])
def test_the_entropy_is_that_of_the_normal_that_is_drawn(name: str) -> None:
    guide, n = GUIDES[name], 6
    assert set(NAMED) == set(GUIDES)
    flat, unravel = ravel_pytree(guide.start(jnp.arange(n, dtype=jnp.float32)))
    parameters = unravel(flat + 0.3 * jax.random.normal(jax.random.key(1), flat.shape))
    noise = jnp.zeros(guide.n_noise(n))
    jacobian = jax.jacobian(guide.draw, argnums=1)(parameters, noise)
    covariance = np.asarray(jacobian @ jacobian.T, np.float64)
    exact = 0.5 * (n * np.log(2 * np.pi * np.e) + np.linalg.slogdet(covariance)[1])
    assert_allclose(guide.entropy(parameters).sum(), exact, rtol=1e-4)


@pytest.mark.parametrize("guide", ["normal", "lowrank"])
def test_the_bound_is_below_the_evidence_and_near_it(guide: str, tiny: Votes) -> None:
    """With all truths known the evidence is a product of Dirichlet integrals."""
    gold = np.array([0, 1, 1])
    evidence = bcc_log_joint(tiny, 1.0, dirichlet_prior(2, 1.0, 2.0))(gold)
    bound = fitted(tiny, gold, guide=guide, n_steps=1500, n_draws=10).bound[-30:]
    assert evidence - 0.5 < bound.mean() < evidence + 4 * bound.std() / np.sqrt(30)


@pytest.mark.parametrize("name", ["bcc", "idbla"])
def test_the_bounds_of_a_partition_average_to_the_whole(name: str, tiny: Votes) -> None:
    data = vote_data(tiny)
    target = target_of(STORIES[name], {}, data)
    point = target.start(jax.random.key(1), data, 1.0)
    flat = ravel_pytree(point)[0]
    parameters = GUIDES["normal"].start(flat) | {"log_scale": -1 + 0.1 * flat}
    noise = jax.random.normal(jax.random.key(2), flat.shape)
    parts = stacked_batches(tiny, NOBODY, 1, np.random.default_rng(0))
    loss = jax.jit(partial(_loss, target, "normal"))
    batches = [jax.tree.map(lambda x, b=b: x[b], parts) for b in range(3)]
    each = [float(loss(point, batch, noise, parameters)) for batch in batches]
    assert_allclose(np.mean(each), float(loss(point, data, noise, parameters)), rtol=1e-5)


def test_batches_hold_every_item_with_all_its_votes(world: tuple[Votes, np.ndarray]) -> None:
    votes, truth = world
    batches = stacked_batches(votes, truth, 50, np.random.default_rng(0))
    assert batches.index.shape == (3, 50)
    assert_array_equal(np.unique(batches.index), np.arange(120))
    for b in range(3):
        n = int(batches.weight[b].sum())
        index = np.asarray(batches.index[b])
        item = index[np.asarray(batches.item[b, :n])]
        assert_array_equal(np.bincount(item, minlength=120)[index], votes.votes_per_item[index])
        found = np.stack([item, batches.worker[b, :n], batches.label[b, :n]], axis=1)
        mine = np.isin(votes.item, index)
        expected = np.stack([votes.item, votes.worker, votes.label], axis=1)[mine]
        assert_array_equal(found, expected)
        assert_array_equal(batches.gold[b], truth[index])


def test_what_does_not_suit_is_refused(tiny: Votes) -> None:
    with pytest.raises(SettingsError, match="batch_items must be 0.*marginalise"):
        fitted(tiny, NOBODY, stories.grid_one_coin, batch_items=1)
    with pytest.raises(SettingsError, match="multivariate.*lowrank"):
        many = Votes.from_codes(np.array([0]), np.array([0]), np.array([0]), workers=900, classes=4)
        fitted(many, np.array([-1]), guide="multivariate")


def test_a_bound_that_still_rises_is_a_problem() -> None:
    noise = np.random.default_rng(0).normal(size=100)
    assert _problems(list(noise), 10) == ()
    assert "still rising" in _problems(list(noise + np.arange(100)), 10)[0]
    assert "too few" in _problems([1.0, 2.0], 10)[0]
