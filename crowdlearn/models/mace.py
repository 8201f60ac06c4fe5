"""MACE: a worker either knows the truth or spams, with labels of a taste of their own."""

from __future__ import annotations

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from crowdlearn.hyperparameters import positive
from crowdlearn.models.data import VoteData
from crowdlearn.models.reading import Reading, log_of, marginalise


def mace(
    data: VoteData, *, honest: float = 0.5, spam: float = 0.5, guess_count: float = 10.0
) -> Reading:
    """Hovy et al. (2013), NAACL; priors as in Paun et al. (2018), section 3.3.

    honesty[w] ~ Beta(honest, spam)                                     for every worker
    guess[w] ~ Dirichlet(guess_count, ...)                              for every worker
    truth[i] ~ Categorical(uniform)                                     for every item; summed out
    spams[v] ~ Bernoulli(1 - honesty[worker[v]])                        for every vote; summed out
    label[v] ~ Categorical(guess[worker[v]]) if spams[v] else truth[item[v]]
    """
    n_classes = data.n_classes
    with numpyro.plate("worker", data.n_workers):
        kinds = dist.Beta(positive("honest", honest), positive("spam", spam))
        honesty = numpyro.sample("honesty", kinds)
        tastes = dist.Dirichlet(jnp.full(n_classes, positive("guess_count", guess_count)))
        guess = numpyro.sample("guess", tastes)
    spammed = (1 - honesty)[:, None] * guess  # (worker, label)
    log_wrong = log_of(spammed)[data.worker, data.label]
    log_right = log_of(spammed + honesty[:, None])[data.worker, data.label]
    hit = data.label[:, None] == jnp.arange(n_classes)
    log_vote = jnp.where(hit, log_right[:, None], log_wrong[:, None])
    return marginalise(data, jnp.full(n_classes, -jnp.log(n_classes)), log_vote)
