"""GLAD: able workers are right more often, on easy items more so."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from crowdlearn.hyperparameters import finite, positive
from crowdlearn.models.data import VoteData
from crowdlearn.models.one_coin import right_or_wrong
from crowdlearn.models.plates import item_plate, of_items
from crowdlearn.models.reading import Reading, marginalise


def glad(
    data: VoteData,
    *,
    ability_mean: float = 1.0,
    ability_spread: float = 1.0,
    easiness_mean: float = 1.0,
    easiness_spread: float = 1.0,
) -> Reading:
    """Whitehill et al. (2009), NIPS, with errors uniform over the other classes.

    ability[w] ~ Normal(ability_mean, ability_spread)                   for every worker
    log_easiness[i] ~ Normal(easiness_mean, easiness_spread)            for every item
    truth[i] ~ Categorical(uniform)                                     for every item; summed out
    label[v] = truth[item[v]] with probability sigmoid(ability[w] * exp(log_easiness[i])),
               else another class, uniformly;  w = worker[v], i = item[v]

    `log_easiness` is the paper's log of the inverse difficulty.
    """
    abilities = dist.Normal(
        finite("ability_mean", ability_mean), positive("ability_spread", ability_spread)
    )
    easinesses = dist.Normal(
        finite("easiness_mean", easiness_mean), positive("easiness_spread", easiness_spread)
    )
    with numpyro.plate("worker", data.n_workers):
        ability = numpyro.sample("ability", abilities)
    with item_plate(data):
        log_easiness = numpyro.sample("log_easiness", easinesses)
    logit = ability[data.worker] * jnp.exp(of_items(data, log_easiness))[data.item]
    log_vote = right_or_wrong(data, jax.nn.log_sigmoid(logit), jax.nn.log_sigmoid(-logit))
    return marginalise(data, jnp.full(data.n_classes, -jnp.log(data.n_classes)), log_vote)
