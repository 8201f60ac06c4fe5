"""Dawid-Skene in Pyro: the twin of `crowdlearn/models/dawid_skene.py`."""

from __future__ import annotations

import pyro
import pyro.distributions as dist

from crowdlearn.hyperparameters import positive
from crowdlearn.models_pyro.data import VoteData
from crowdlearn.models_pyro.reading import Reading, log_of, marginalise, of_worker


def dawid_skene(data: VoteData, *, count: float = 1.0) -> Reading:
    """Dawid and Skene (1979), with flat Dirichlet priors as in Paun et al. (2018), section 3.2.

    prior ~ Dirichlet(count, ..., count)
    confusion[w, k] ~ Dirichlet(count, ..., count)                    for every worker and class
    truth[i] ~ Categorical(prior)                                     for every item; summed out
    label[v] ~ Categorical(confusion[worker[v], truth[item[v]]])      for every vote
    """
    n_classes, count = data.n_classes, positive("count", count)
    prior = pyro.sample("prior", dist.Dirichlet(data.one.new_full((n_classes,), count)))
    rows = dist.Dirichlet(data.one.new_full((n_classes, n_classes), count))
    with pyro.plate("worker", data.n_workers):
        confusion = pyro.sample("confusion", rows.to_event(1))
    return marginalise(data, log_of(prior), of_worker(data, log_of(confusion)))
