"""Batches of items: unbiased, scaled and indexed, also for items' own parameters."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpyro import handlers
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoNormal
from numpyro.optim import Adam

from crowdlearn.models import STORIES, VoteData, item_plate, items_of, vote_data
from crowdlearn.votes import Votes
from tests.crowdlearn.models.conftest import evaluator
from tests.crowdlearn.models.oracles import ORACLES, Sites, draw

pytestmark = pytest.mark.usefixtures("double")
PARTITION = (np.array([2, 0]), np.array([3, 1]))
ITEM_STORIES = ("glad", "item-difficulty", "logistic-random-effects", "idbla", "fixed-idbla")


def padded(batch: VoteData, n_votes: int) -> VoteData:
    """Filled up to `n_votes` with votes of weight 0, on the batch's last item."""
    fill = n_votes - batch.label.shape[0]
    last = jnp.full(fill, batch.n_here - 1, batch.item.dtype)
    nothing = jnp.zeros(fill, batch.worker.dtype)
    return replace(
        batch,
        item=jnp.concatenate([batch.item, last]),
        worker=jnp.concatenate([batch.worker, nothing]),
        label=jnp.concatenate([batch.label, nothing]),
        weight=jnp.concatenate([batch.weight, jnp.zeros(fill)]),
    )


def rows_of(name: str, sites: Sites, index: np.ndarray) -> Sites:
    """The item sites cut down to a batch."""
    return {
        site: sites[site][index] if axes[0] == "i" else sites[site]
        for site, (_, axes) in ORACLES[name].sites.items()
    }


@pytest.mark.parametrize("name", [*ITEM_STORIES, "dawid-skene"])
def test_the_density_of_batches_averages_to_that_of_the_whole(name: str, small: Votes) -> None:
    """Every term once: parameters of workers unscaled, those of items and their votes scaled."""
    whole = vote_data(small, np.array([-1, -1, 1, -1]))
    sites = draw(ORACLES[name], small, np.random.default_rng(9))
    evaluate = evaluator(name)
    batches = [padded(items_of(whole, index), 6) for index in PARTITION]
    assert [batch.scale for batch in batches] == [2.0, 2.0]
    parts = [
        evaluate(rows_of(name, sites, index), b)[0]
        for index, b in zip(PARTITION, batches, strict=True)
    ]
    assert_allclose(np.mean(parts), evaluate(sites, whole)[0], rtol=1e-12)
    assert abs(parts[0] - parts[1]) > 1e-3


def test_a_batch_reads_its_rows_of_draws_over_all_items(small: Votes) -> None:
    whole, sites = vote_data(small), draw(ORACLES["idbla"], small, np.random.default_rng(9))
    truth_of = jax.jit(truths)
    truth = truth_of(sites, whole)
    for index in (*PARTITION, np.array([3, 1, 0, 2])):  # the last one: all items, but moved
        batch = padded(items_of(whole, index), 7)
        assert_allclose(truth_of(sites, batch), truth[index], atol=1e-12)


def truths(sites: Sites, data: VoteData) -> jax.Array:
    return handlers.block(handlers.substitute(STORIES["idbla"], data=sites))(data).truth(data)


@pytest.fixture(scope="module")
def guided() -> tuple[AutoNormal, SVI]:
    guide = AutoNormal(STORIES["glad"], create_plates=item_plate, init_scale=1e-7)
    return guide, SVI(STORIES["glad"], guide, Adam(0.01), Trace_ELBO())


def test_a_guide_on_batches_learns_only_their_items_and_without_bias(
    guided: tuple[AutoNormal, SVI], small: Votes
) -> None:
    """With a guide of no width the gradient is exact: batches must average to the whole's."""
    guide, svi = guided
    whole = vote_data(small)
    batches = [padded(items_of(whole, index), 6) for index in PARTITION]
    state = jax.jit(svi.init)(jax.random.key(0), batches[0])
    params = svi.get_params(state)
    assert params["log_easiness_auto_loc"].shape == (4,)
    slope_of = jax.jit(slope, static_argnums=0)
    slopes = [slope_of(svi, params, d) for d in (whole, *batches)]
    assert_array_equal(np.flatnonzero(slopes[1]["log_easiness_auto_loc"]), [0, 2])
    assert_array_equal(np.flatnonzero(slopes[2]["log_easiness_auto_loc"]), [1, 3])
    for name in params:
        if name.endswith("loc"):
            mean = (slopes[1][name] + slopes[2][name]) / 2
            assert_allclose(mean, slopes[0][name], atol=1e-4)
    drawn = jax.jit(lambda key, at: guide.sample_posterior(key, at, sample_shape=(5,)))
    draws = drawn(jax.random.key(1), params)
    assert draws["log_easiness"].shape == (5, 4)


def slope(svi: SVI, params: dict[str, jax.Array], data: VoteData) -> dict[str, jax.Array]:
    def loss(p: dict[str, jax.Array]) -> jax.Array:
        unconstrained = p | {n: jnp.full_like(v, 1e-7) for n, v in p.items() if "scale" in n}
        return svi.loss.loss(jax.random.key(2), unconstrained, svi.model, svi.guide, data)

    return jax.grad(loss)(params)
