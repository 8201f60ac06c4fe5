"""Item difficulty: all workers are alike, and every item is read in its own way."""

from __future__ import annotations

import jax
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from crowdlearn.hyperparameters import positive
from crowdlearn.models.bcc import class_prior
from crowdlearn.models.data import VoteData
from crowdlearn.models.hierarchical_dawid_skene import draw_typical
from crowdlearn.models.plates import item_plate, of_items
from crowdlearn.models.reading import Reading, label_of, log_of, marginalise


def item_difficulty(
    data: VoteData,
    *,
    prior_count: float = 1.0,
    ease: float = 1.0,
    between_classes: float = 1.0,
    between_items: float = 1.0,
) -> Reading:
    """Paun et al. (2018), section 3.5.

    prior ~ Dirichlet(prior_count, ...)
    typical[k, c] ~ Normal(ease if k = c else 0, between_classes)       for every cell
    item_scatter[k, c] ~ HalfNormal(between_items)                      for every cell
    item_effect[i, c] ~ Normal(0, 1)                                    for every item and label
    truth[i] ~ Categorical(prior)                                       for every item; summed out
    label[v] ~ Categorical(softmax(typical[k] + item_scatter[k] * item_effect[i]))
               where i = item[v], k = truth[i]

    Every class has a score, and `ease` is ours: see `hierarchical_dawid_skene.py`.
    """
    prior = class_prior(data, prior_count)
    typical = draw_typical(data, ease, between_classes)
    scores = typical + draw_item_effects(data, between_items)
    log_label = jax.nn.log_softmax(scores, axis=2)
    return marginalise(data, log_of(prior), label_of(data, log_label[data.item]))


def draw_item_effects(data: VoteData, between_items: float) -> Float[Array, "item class label"]:
    """Draws the sites `item_scatter` and `item_effect`; their product under every truth."""
    n_classes = data.n_classes
    spreads = dist.HalfNormal(positive("between_items", between_items))
    cells = spreads.expand([n_classes, n_classes]).to_event(2)
    scatter = numpyro.sample("item_scatter", cells)
    with item_plate(data):
        unit = dist.Normal(0.0, 1.0).expand([n_classes]).to_event(1)
        effect = numpyro.sample("item_effect", unit)
    return scatter * of_items(data, effect)[:, None, :]
