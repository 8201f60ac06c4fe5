"""CBCC, community BCC: the twin of `crowdlearn/models/cbcc.py`."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
from torch.distributions import constraints

from crowdlearn.hyperparameters import at_least_one, positive
from crowdlearn.models_pyro.data import VoteData
from crowdlearn.models_pyro.reading import Reading, log_of, marginalise, of_worker
from crowdlearn.models_pyro.rows import class_prior, row_counts


class MixtureOfRows(dist.MixtureSameFamily):
    """A mixture whose draws are matrices of rows that sum to one; torch does not tell guides so."""

    support = constraints.independent(constraints.simplex, 1)


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
    """
    n_communities = at_least_one("n_communities", n_communities)
    prior = class_prior(data, prior_count)
    counts = data.one.new_full((n_communities,), positive("community_count", community_count))
    share = pyro.sample("share", dist.Dirichlet(counts))
    each = data.one.new_ones((data.n_classes,))
    middle = math.log(positive("concentration", concentration) * data.n_classes)
    strengths = dist.LogNormal(middle * each, positive("spread", spread) * each)
    with pyro.plate("community", n_communities):
        rows = dist.Dirichlet(row_counts(data, off_diagonal, diagonal))
        mean = pyro.sample("mean", rows.to_event(1))
        strength = pyro.sample("strength", strengths.to_event(1))
    around = dist.Dirichlet(strength[..., None] * mean).to_event(1)
    with pyro.plate("worker", data.n_workers):
        mixture = MixtureOfRows(dist.Categorical(share), around)
        confusion = pyro.sample("confusion", mixture)
    return marginalise(data, log_of(prior), of_worker(data, log_of(confusion)))
