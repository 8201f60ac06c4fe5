"""Multinomial: all workers are alike and share one confusion matrix."""

from __future__ import annotations

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from crowdlearn.hyperparameters import positive
from crowdlearn.models.data import VoteData
from crowdlearn.models.reading import Reading, log_of, marginalise


def multinomial(data: VoteData, *, count: float = 1.0) -> Reading:
    """The pooled story of Paun et al. (2018), section 3.1: who voted does not matter.

    prior ~ Dirichlet(count, ..., count)
    confusion[k] ~ Dirichlet(count, ..., count)                       for every class
    truth[i] ~ Categorical(prior)                                     for every item; summed out
    label[v] ~ Categorical(confusion[truth[item[v]]])                 for every vote
    """
    flat = jnp.full(data.n_classes, positive("count", count))
    prior = numpyro.sample("prior", dist.Dirichlet(flat))
    with numpyro.plate("class", data.n_classes):
        confusion = numpyro.sample("confusion", dist.Dirichlet(flat))
    return marginalise(data, log_of(prior), log_of(confusion).T[data.label])
