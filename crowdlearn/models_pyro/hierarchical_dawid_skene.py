"""Hierarchical Dawid-Skene: the twin of `crowdlearn/models/hierarchical_dawid_skene.py`."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch

from crowdlearn.hyperparameters import finite, positive
from crowdlearn.models_pyro.data import VoteData
from crowdlearn.models_pyro.reading import Reading, log_of, marginalise, of_worker
from crowdlearn.models_pyro.rows import class_prior


def hierarchical_dawid_skene(
    data: VoteData,
    *,
    prior_count: float = 1.0,
    ease: float = 1.0,
    between_classes: float = 1.0,
    between_workers: float = 1.0,
) -> Reading:
    """Paun et al. (2018), section 3.4.

    prior ~ Dirichlet(prior_count, ...)
    typical[k, c] ~ Normal(ease if k = c else 0, between_classes)       for every cell
    scatter[k, c] ~ HalfNormal(between_workers)                         for every cell
    deviation[w, k, c] ~ Normal(0, 1)                                   for every worker and cell
    confusion[w, k] = softmax(typical[k] + scatter[k] * deviation[w, k])
    truth[i] ~ Categorical(prior)                                       for every item; summed out
    label[v] ~ Categorical(confusion[worker[v], truth[item[v]]])        for every vote
    """
    n_classes = data.n_classes
    prior = class_prior(data, prior_count)
    cells = data.one.new_ones((n_classes, n_classes))
    centre = finite("ease", ease) * torch.diag(cells[0])
    typicals = dist.Normal(centre, positive("between_classes", between_classes) * cells)
    typical = pyro.sample("typical", typicals.to_event(2))
    spreads = dist.HalfNormal(positive("between_workers", between_workers) * cells)
    scatter = pyro.sample("scatter", spreads.to_event(2))
    with pyro.plate("worker", data.n_workers):
        deviation = pyro.sample("deviation", dist.Normal(0 * cells, cells).to_event(2))
    log_confusion = (typical + scatter * deviation).log_softmax(2)
    return marginalise(data, log_of(prior), of_worker(data, log_confusion))
