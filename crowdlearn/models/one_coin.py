"""One coin: every worker has one ability, and errors fall on the other classes alike."""

from __future__ import annotations

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from crowdlearn.hyperparameters import positive
from crowdlearn.models.bcc import class_prior
from crowdlearn.models.data import VoteData
from crowdlearn.models.reading import Reading, log_of, marginalise


def one_coin(
    data: VoteData, *, prior_count: float = 1.0, right: float = 1.0, wrong: float = 1.0
) -> Reading:
    """Zhang et al. (2014), NIPS, section 5: `aggregators/one_coin.py` with a prior on abilities.

    prior ~ Dirichlet(prior_count, ...)
    ability[w] ~ Beta(right, wrong)                                     for every worker
    truth[i] ~ Categorical(prior)                                       for every item; summed out
    label[v] = truth[item[v]] with probability ability[worker[v]], else another class, uniformly
    """
    prior = class_prior(data, prior_count)
    with numpyro.plate("worker", data.n_workers):
        abilities = dist.Beta(positive("right", right), positive("wrong", wrong))
        ability = numpyro.sample("ability", abilities)
    log_right, log_wrong = log_of(ability), log_of(1 - ability)
    log_vote = right_or_wrong(data, log_right[data.worker], log_wrong[data.worker])
    return marginalise(data, log_of(prior), log_vote)


def right_or_wrong(
    data: VoteData, log_right: Float[Array, " vote"], log_wrong: Float[Array, " vote"]
) -> Float[Array, "vote class"]:
    """Log probability of every vote's label, errors falling on the other classes alike."""
    hit = data.label[:, None] == jnp.arange(data.n_classes)
    return jnp.where(hit, log_right[:, None], log_wrong[:, None] - jnp.log(data.n_classes - 1.0))
