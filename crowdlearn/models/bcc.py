"""BCC: Dawid-Skene with a prior that expects workers to be right more often than wrong."""

from __future__ import annotations

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from crowdlearn.hyperparameters import positive
from crowdlearn.models.data import VoteData
from crowdlearn.models.reading import Reading, log_of, marginalise, of_worker


def bcc(
    data: VoteData,
    *,
    prior_count: float = 1.0,
    off_diagonal: float = 1.0,
    diagonal: float = 2.0,
) -> Reading:
    """Kim and Ghahramani (2012), AISTATS, with fixed Dirichlet parameters: `aggregators/bcc.py`.

    prior ~ Dirichlet(prior_count, ...)
    confusion[w, k] ~ Dirichlet(off_diagonal, ..., diagonal at k, ...)  for every worker and class
    truth[i] ~ Categorical(prior)                                       for every item; summed out
    label[v] ~ Categorical(confusion[worker[v], truth[item[v]]])        for every vote
    """
    prior = class_prior(data, prior_count)
    rows = dist.Dirichlet(row_counts(data.n_classes, off_diagonal, diagonal))
    with numpyro.plate("worker", data.n_workers):
        confusion = numpyro.sample("confusion", rows.to_event(1))
    return marginalise(data, log_of(prior), of_worker(data, log_of(confusion)))


def class_prior(data: VoteData, prior_count: float) -> Float[Array, " class"]:
    """Draws the site `prior` from a symmetric Dirichlet."""
    counts = jnp.full(data.n_classes, positive("prior_count", prior_count))
    return numpyro.sample("prior", dist.Dirichlet(counts))


def row_counts(n_classes: int, off_diagonal: float, diagonal: float) -> Float[Array, "class label"]:
    """Dirichlet parameters of the rows of a confusion matrix."""
    same = jnp.eye(n_classes, dtype=bool)
    return jnp.where(same, positive("diagonal", diagonal), positive("off_diagonal", off_diagonal))
