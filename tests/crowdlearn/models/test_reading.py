"""Summing out here and by NumPyro's own enumeration: two codes, one density."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose
from numpyro.contrib.funsor import config_enumerate, enum
from numpyro.contrib.funsor import log_density as enumerated_density
from numpyro.ops.indexing import Vindex

from crowdlearn.models import vote_data
from crowdlearn.votes import Votes
from tests.crowdlearn.models.conftest import evaluator
from tests.crowdlearn.models.oracles import ORACLES, draw

pytestmark = pytest.mark.usefixtures("double")
Grid = tuple[np.ndarray, np.ndarray, np.ndarray]


def grid_of(votes: Votes) -> Grid:
    """worker, label and presence of every vote, as (item, slot)."""
    shape = (votes.n_items, int(votes.votes_per_item.max()))
    worker, label, there = np.zeros(shape, int), np.zeros(shape, int), np.zeros(shape, bool)
    for i in range(votes.n_items):
        n, at = int(votes.votes_per_item[i]), votes.votes_of(i)
        worker[i, :n], label[i, :n], there[i, :n] = votes.worker[at], votes.label[at], True
    return worker, label, there


def parameters(n_workers: int, n_classes: int) -> tuple[jnp.ndarray, jnp.ndarray]:
    prior = numpyro.sample("prior", dist.Dirichlet(jnp.ones(n_classes)))
    rows = dist.Dirichlet(jnp.ones((n_classes, n_classes))).to_event(1)
    with numpyro.plate("worker", n_workers):
        confusion = numpyro.sample("confusion", rows)
    return prior, confusion


def explicit_dawid_skene(grid: Grid, n_workers: int, n_classes: int) -> None:
    worker, label, there = grid
    prior, confusion = parameters(n_workers, n_classes)
    with numpyro.plate("item", len(worker), dim=-2):
        truth = numpyro.sample("truth", dist.Categorical(prior))
        with numpyro.plate("slot", worker.shape[1], dim=-1):
            told = dist.Categorical(Vindex(confusion)[worker, truth])
            numpyro.sample("label", told.mask(there), obs=label)


def explicit_idbla(grid: Grid, n_workers: int, n_classes: int) -> None:
    worker, label, there = grid
    prior, confusion = parameters(n_workers, n_classes)
    guess = numpyro.sample("guess", dist.Dirichlet(jnp.ones(n_classes)))
    with numpyro.plate("item", len(worker), dim=-2):
        easiness = numpyro.sample("easiness", dist.Beta(9.0, 1.0))
        truth = numpyro.sample("truth", dist.Categorical(prior))
        with numpyro.plate("slot", worker.shape[1], dim=-1):
            seen = numpyro.sample("seen", dist.Bernoulli(easiness))
            own = Vindex(confusion)[worker, truth]
            told = dist.Categorical(jnp.where((seen == 1)[..., None], own, guess))
            numpyro.sample("label", told.mask(there), obs=label)


@pytest.mark.parametrize(
    ("name", "explicit"), [("dawid-skene", explicit_dawid_skene), ("idbla", explicit_idbla)]
)
def test_funsor_sums_out_the_same(name: str, explicit: Callable[..., None], small: Votes) -> None:
    sites = draw(ORACLES[name], small, np.random.default_rng(11))
    given = sites | ({"easiness": sites["easiness"][:, None]} if name == "idbla" else {})
    args = (grid_of(small), small.n_workers, small.n_classes)
    summed = enum(config_enumerate(explicit), first_available_dim=-3)
    expected = jax.jit(lambda given: enumerated_density(summed, args, {}, given)[0])(given)
    assert_allclose(evaluator(name)(sites, vote_data(small))[0], expected, rtol=1e-9)
