"""Dawid-Skene: every worker has a confusion matrix, and nothing is known of it beforehand."""

from __future__ import annotations

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from crowdlearn.hyperparameters import positive
from crowdlearn.models.data import VoteData
from crowdlearn.models.reading import Reading, log_of, marginalise, of_worker


def dawid_skene(data: VoteData, *, count: float = 1.0) -> Reading:
    """Dawid and Skene (1979), with flat Dirichlet priors as in Paun et al. (2018), section 3.2.

    prior ~ Dirichlet(count, ..., count)
    confusion[w, k] ~ Dirichlet(count, ..., count)                    for every worker and class
    truth[i] ~ Categorical(prior)                                     for every item; summed out
    label[v] ~ Categorical(confusion[worker[v], truth[item[v]]])      for every vote
    """
    flat = jnp.full(data.n_classes, positive("count", count))
    prior = numpyro.sample("prior", dist.Dirichlet(flat))
    with numpyro.plate("worker", data.n_workers):
        rows = dist.Dirichlet(jnp.broadcast_to(flat, (data.n_classes, data.n_classes)))
        confusion = numpyro.sample("confusion", rows.to_event(1))
    return marginalise(data, log_of(prior), of_worker(data, log_of(confusion)))
