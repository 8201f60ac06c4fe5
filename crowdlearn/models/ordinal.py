"""Ordinal: classes have an order, and every worker reads them off a scale of its own."""

from __future__ import annotations

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax.scipy.special import ndtr
from jaxtyping import Array, Float

from crowdlearn.errors import SettingsError
from crowdlearn.hyperparameters import finite, positive
from crowdlearn.models.bcc import class_prior
from crowdlearn.models.data import VoteData
from crowdlearn.models.reading import Reading, log_of, marginalise, of_worker


def ordinal(
    data: VoteData,
    *,
    prior_count: float = 1.0,
    middle_spread: float = 0.5,
    gap_spread: float = 0.5,
    bias_spread: float = 0.5,
    slope_spread: float = 0.5,
    noise_spread: float = 0.5,
    lapse: float = 0.02,
) -> Reading:
    """Johnson (1996), JASA 91(433), with classes as truths: `aggregators/ordinal.py`.

    prior ~ Dirichlet(prior_count, ...)
    middle ~ Normal(m, middle_spread), m = (n_classes - 1) / 2
    gap[c] ~ LogNormal(0, gap_spread)                                   for n_classes - 2 gaps
    threshold[c]: `gap` apart, their mean is `middle`
    bias[w] ~ Normal(0, bias_spread)                                    for every worker
    slope[w] ~ Normal(1, slope_spread)                                  for every worker
    noise[w] ~ LogNormal(log 1/2, noise_spread)                         for every worker
    truth[i] ~ Categorical(prior)                                       for every item; summed out
    label[v] <= c with probability Phi((threshold[c] - m - slope (truth - m) - bias) / noise)
               of worker[v], mixed with a share `lapse` of labels at random
    """
    if not 0 < finite("lapse", lapse) < 1:
        raise SettingsError(f"lapse must be between 0 and 1, not {lapse!r}")
    n_classes, middle = data.n_classes, (data.n_classes - 1) / 2
    prior = class_prior(data, prior_count)
    cuts = draw_thresholds(data, middle_spread, gap_spread)
    with numpyro.plate("worker", data.n_workers):
        bias = numpyro.sample("bias", dist.Normal(0.0, positive("bias_spread", bias_spread)))
        slopes = dist.Normal(1.0, positive("slope_spread", slope_spread))
        slope = numpyro.sample("slope", slopes)
        noises = dist.LogNormal(jnp.log(0.5), positive("noise_spread", noise_spread))
        noise = numpyro.sample("noise", noises)
    place = jnp.arange(n_classes) - middle
    seen = middle + slope[:, None] * place + bias[:, None]  # (worker, class)
    below = ndtr((cuts - seen[..., None]) / noise[:, None, None])
    edges = [jnp.zeros_like(below[..., :1]), below, jnp.ones_like(below[..., :1])]
    confusion = jnp.diff(jnp.concatenate(edges, axis=-1), axis=-1)
    confusion = (1 - lapse) * confusion + lapse / n_classes
    return marginalise(data, log_of(prior), of_worker(data, log_of(confusion)))


def draw_thresholds(
    data: VoteData, middle_spread: float, gap_spread: float
) -> Float[Array, " threshold"]:
    """Draws the sites `middle` and, for three classes and more, `gap`."""
    middles = dist.Normal((data.n_classes - 1) / 2, positive("middle_spread", middle_spread))
    middle = numpyro.sample("middle", middles)
    if data.n_classes == 2:
        return middle[None]
    gaps = dist.LogNormal(0.0, positive("gap_spread", gap_spread))
    gap = numpyro.sample("gap", gaps.expand([data.n_classes - 2]).to_event(1))
    raw = jnp.concatenate([jnp.zeros(1), jnp.cumsum(gap)])
    return middle + raw - raw.mean()
