"""Stories as users might write them, right and wrong."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro import handlers


def grid_one_coin(data: Any, *, right: float = 2.0, wrong: float = 1.0) -> None:
    """`one_coin` with its truths drawn at a site, for funsor to sum out."""
    worker, label, present = data.grid()
    prior = numpyro.sample("prior", dist.Dirichlet(jnp.ones(data.n_classes)))
    with numpyro.plate("worker", data.n_workers):
        ability = numpyro.sample("ability", dist.Beta(right, wrong))
    with numpyro.plate("item", data.n_items, dim=-2):
        truth = numpyro.sample("truth", dist.Categorical(prior))
        with numpyro.plate("slot", label.shape[1], dim=-1), handlers.mask(mask=present):
            wrongly = (1 - ability[worker]) / (data.n_classes - 1)
            hit = truth[..., None] == jnp.arange(data.n_classes)
            told = jnp.where(hit, ability[worker][..., None], wrongly[..., None])
            numpyro.sample("label", dist.Categorical(told), obs=label)


def without_truth(data: Any) -> None:
    numpyro.sample("prior", dist.Dirichlet(jnp.ones(data.n_classes)))


def with_counts(data: Any) -> None:
    """A discrete site without a finite list of values."""
    rate = numpyro.sample("rate", dist.Gamma(1.0, 1.0))
    with numpyro.plate("item", data.n_items):
        numpyro.sample("truth", dist.Categorical(jnp.ones(data.n_classes) / data.n_classes))
        numpyro.sample("n_fakes", dist.Poisson(rate))


def with_too_many_truths(data: Any) -> None:
    prior = numpyro.sample("prior", dist.Dirichlet(jnp.ones(data.n_classes + 1)))
    with numpyro.plate("item", data.n_items):
        numpyro.sample("truth", dist.Categorical(prior))


def with_a_switch(data: Any) -> Any:
    """A discrete site beside truths that are summed out."""
    from crowdlearn.models.bcc import bcc

    numpyro.sample("switch", dist.Bernoulli(0.5))
    return bcc(data)


def without_parameters(data: Any) -> Any:
    from crowdlearn.models import marginalise

    return marginalise(data, jnp.zeros(data.n_classes), jnp.zeros((len(data.item), data.n_classes)))


def without_votes(*, count: float = 1.0) -> None:
    numpyro.sample("prior", dist.Dirichlet(jnp.full(2, count)))
