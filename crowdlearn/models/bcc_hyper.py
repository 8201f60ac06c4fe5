"""BCC with hyperpriors: workers scatter around one typical worker, both of them learned."""

from __future__ import annotations

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from crowdlearn.hyperparameters import positive
from crowdlearn.models.bcc import class_prior, row_counts
from crowdlearn.models.data import VoteData
from crowdlearn.models.reading import Reading, log_of, marginalise, of_worker


def bcc_hyper(
    data: VoteData,
    *,
    prior_count: float = 1.0,
    off_diagonal: float = 1.0,
    diagonal: float = 2.0,
    concentration: float = 2.0,
    spread: float = 1.0,
) -> Reading:
    """BCC whose Dirichlet parameters are learned, as Kim and Ghahramani (2012) have them.

    prior ~ Dirichlet(prior_count, ...)
    mean[k] ~ Dirichlet(off_diagonal, ..., diagonal at k, ...)          for every class
    strength[k] ~ LogNormal(log(concentration * n_classes), spread)     for every class
    confusion[w, k] ~ Dirichlet(strength[k] * mean[k])                  for every worker and class
    truth[i] ~ Categorical(prior)                                       for every item; summed out
    label[v] ~ Categorical(confusion[worker[v], truth[item[v]]])        for every vote

    The paper draws every Dirichlet parameter from an exponential distribution; here its mean and
    its strength are drawn apart. This is `cbcc` with one community.
    """
    n_classes = data.n_classes
    prior = class_prior(data, prior_count)
    middle = jnp.log(positive("concentration", concentration) * n_classes)
    with numpyro.plate("class", n_classes):
        rows = dist.Dirichlet(row_counts(n_classes, off_diagonal, diagonal))
        mean = numpyro.sample("mean", rows)
        strength = numpyro.sample("strength", dist.LogNormal(middle, positive("spread", spread)))
    with numpyro.plate("worker", data.n_workers):
        around = dist.Dirichlet(strength[:, None] * mean).to_event(1)
        confusion = numpyro.sample("confusion", around)
    return marginalise(data, log_of(prior), of_worker(data, log_of(confusion)))
