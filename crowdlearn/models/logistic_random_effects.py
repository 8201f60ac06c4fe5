"""Logistic random effects: workers and items both move the odds of the labels."""

from __future__ import annotations

import jax

from crowdlearn.models.bcc import class_prior
from crowdlearn.models.data import VoteData
from crowdlearn.models.hierarchical_dawid_skene import draw_deviations, draw_typical
from crowdlearn.models.item_difficulty import draw_item_effects
from crowdlearn.models.reading import Reading, label_of, log_of, marginalise


def logistic_random_effects(
    data: VoteData,
    *,
    prior_count: float = 1.0,
    ease: float = 1.0,
    between_classes: float = 1.0,
    between_workers: float = 1.0,
    between_items: float = 1.0,
) -> Reading:
    """Paun et al. (2018), section 3.6: hierarchical Dawid-Skene with an effect of the item.

    prior ~ Dirichlet(prior_count, ...)
    typical[k, c] ~ Normal(ease if k = c else 0, between_classes)       for every cell
    scatter[k, c] ~ HalfNormal(between_workers)                         for every cell
    deviation[w, k, c] ~ Normal(0, 1)                                   for every worker and cell
    item_scatter[k, c] ~ HalfNormal(between_items)                      for every cell
    item_effect[i, c] ~ Normal(0, 1)                                    for every item and label
    truth[i] ~ Categorical(prior)                                       for every item; summed out
    label[v] ~ Categorical(softmax(typical[k] + scatter[k] * deviation[w, k]
               - item_scatter[k] * item_effect[i]));  w = worker[v], i = item[v], k = truth[i]

    Every class has a score, and `ease` is ours: see `hierarchical_dawid_skene.py`.
    """
    prior = class_prior(data, prior_count)
    worker_score = draw_typical(data, ease, between_classes)
    worker_score = worker_score + draw_deviations(data, between_workers)
    item_score = draw_item_effects(data, between_items)
    scores = worker_score[data.worker] - item_score[data.item]
    log_label = jax.nn.log_softmax(scores, axis=2)
    return marginalise(data, log_of(prior), label_of(data, log_label))
