"""CBCC, community BCC: workers come in communities whose members err alike."""

from __future__ import annotations

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from crowdlearn.hyperparameters import at_least_one, positive
from crowdlearn.models.bcc import class_prior, row_counts
from crowdlearn.models.data import VoteData
from crowdlearn.models.reading import Reading, log_of, marginalise, of_worker


def cbcc(
    data: VoteData,
    *,
    n_communities: int = 3,
    community_count: float = 10.0,
    prior_count: float = 1.0,
    off_diagonal: float = 1.0,
    diagonal: float = 2.0,
    concentration: float = 2.0,
    spread: float = 1.0,
) -> Reading:
    """Venanzi et al. (2014), WWW, with Dirichlet rows where the paper has softmaxes of normals.

    prior ~ Dirichlet(prior_count, ...)
    share ~ Dirichlet(community_count, ...)                             of the communities
    mean[m, k] ~ Dirichlet(off_diagonal, ..., diagonal at k, ...)       for community and class
    strength[m, k] ~ LogNormal(log(concentration * n_classes), spread)  for community and class
    community[w] ~ Categorical(share)                                   for every worker; summed out
    confusion[w, k] ~ Dirichlet(strength[m, k] * mean[m, k]), m = community[w]
    truth[i] ~ Categorical(prior)                                       for every item; summed out
    label[v] ~ Categorical(confusion[worker[v], truth[item[v]]])        for every vote

    A worker's rows all come from one community: the sum over communities is over their joint
    density.
    """
    n_classes, n_communities = data.n_classes, at_least_one("n_communities", n_communities)
    prior = class_prior(data, prior_count)
    counts = jnp.full(n_communities, positive("community_count", community_count))
    share = numpyro.sample("share", dist.Dirichlet(counts))
    middle = jnp.log(positive("concentration", concentration) * n_classes)
    strengths = dist.LogNormal(middle, positive("spread", spread)).expand([n_classes])
    rows = dist.Dirichlet(row_counts(n_classes, off_diagonal, diagonal))
    with numpyro.plate("community", n_communities):
        mean = numpyro.sample("mean", rows.to_event(1))
        strength = numpyro.sample("strength", strengths.to_event(1))
    around = dist.Dirichlet(strength[..., None] * mean).to_event(1)
    with numpyro.plate("worker", data.n_workers):
        mixture = dist.MixtureSameFamily(dist.Categorical(share), around)
        confusion = numpyro.sample("confusion", mixture)
    return marginalise(data, log_of(prior), of_worker(data, log_of(confusion)))
