"""Hierarchical Dawid-Skene: workers are variations of one typical worker, in log odds."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from crowdlearn.hyperparameters import finite, positive
from crowdlearn.models.bcc import class_prior
from crowdlearn.models.data import VoteData
from crowdlearn.models.reading import Reading, log_of, marginalise, of_worker


def hierarchical_dawid_skene(
    data: VoteData,
    *,
    prior_count: float = 1.0,
    ease: float = 1.0,
    between_classes: float = 1.0,
    between_workers: float = 1.0,
) -> Reading:
    """Paun et al. (2018), section 3.4; the world of `simulate/hierarchical.py`.

    prior ~ Dirichlet(prior_count, ...)
    typical[k, c] ~ Normal(ease if k = c else 0, between_classes)       for every cell
    scatter[k, c] ~ HalfNormal(between_workers)                         for every cell
    deviation[w, k, c] ~ Normal(0, 1)                                   for every worker and cell
    confusion[w, k] = softmax(typical[k] + scatter[k] * deviation[w, k])
    truth[i] ~ Categorical(prior)                                       for every item; summed out
    label[v] ~ Categorical(confusion[worker[v], truth[item[v]]])        for every vote

    The paper fixes the last score of every row at 0, which makes the prior depend on which class
    comes last; here every class has a score. The paper's typical worker is expected to know nothing
    (`ease` 0), which leaves the classes' names to chance.
    """
    prior = class_prior(data, prior_count)
    typical = draw_typical(data, ease, between_classes)
    scores = typical + draw_deviations(data, between_workers)
    log_confusion = jax.nn.log_softmax(scores, axis=2)
    return marginalise(data, log_of(prior), of_worker(data, log_confusion))


def draw_typical(
    data: VoteData, ease: float, between_classes: float
) -> Float[Array, "class label"]:
    """Draws the site `typical`: the scores of the typical worker."""
    centre = finite("ease", ease) * jnp.eye(data.n_classes)
    cells = dist.Normal(centre, positive("between_classes", between_classes))
    return numpyro.sample("typical", cells.to_event(2))


def draw_deviations(data: VoteData, between_workers: float) -> Float[Array, "worker class label"]:
    """Draws the sites `scatter` and `deviation`; their product."""
    shape = [data.n_classes, data.n_classes]
    spreads = dist.HalfNormal(positive("between_workers", between_workers)).expand(shape)
    scatter = numpyro.sample("scatter", spreads.to_event(2))
    with numpyro.plate("worker", data.n_workers):
        unit = dist.Normal(0.0, 1.0).expand(shape).to_event(2)
        deviation = numpyro.sample("deviation", unit)
    return scatter * deviation
