"""IDBLA: the twin of `crowdlearn/models/idbla.py`."""

from __future__ import annotations

import pyro
import pyro.distributions as dist

from crowdlearn.hyperparameters import positive
from crowdlearn.models_pyro.data import VoteData
from crowdlearn.models_pyro.plates import item_plate, of_items
from crowdlearn.models_pyro.reading import Reading, log_of, marginalise, of_worker
from crowdlearn.models_pyro.rows import class_prior, row_counts


def idbla(
    data: VoteData,
    *,
    prior_count: float = 1.0,
    off_diagonal: float = 1.0,
    diagonal: float = 1.0,
    easy: float = 9.0,
    hard: float = 1.0,
    guess_count: float = 1.0,
) -> Reading:
    """Hong (2017), arXiv 1706.03930, as reconstructed in `aggregators/difficulty.py`.

    prior ~ Dirichlet(prior_count, ...)
    confusion[w, k] ~ Dirichlet(off_diagonal, ..., diagonal at k, ...)  for every worker and class
    easiness[i] ~ Beta(easy, hard)                                      for every item
    guess ~ Dirichlet(guess_count, ...)
    truth[i] ~ Categorical(prior)                                       for every item; summed out
    seen[v] ~ Bernoulli(easiness[item[v]])                              for every vote; summed out
    label[v] ~ Categorical(confusion[worker[v], truth[item[v]]] if seen[v] else guess)
    """
    counts = data.one.new_full((data.n_classes,), positive("guess_count", guess_count))
    guess = pyro.sample("guess", dist.Dirichlet(counts))
    prior = class_prior(data, prior_count)
    rows = dist.Dirichlet(row_counts(data, off_diagonal, diagonal))
    with pyro.plate("worker", data.n_workers):
        confusion = pyro.sample("confusion", rows.to_event(1))
    easinesses = dist.Beta(data.one * positive("easy", easy), data.one * positive("hard", hard))
    with item_plate(data):
        easiness = pyro.sample("easiness", easinesses)
    sees = of_items(data, easiness)[data.item]
    guessed = (1 - sees) * guess[data.label]
    told = sees[:, None] * of_worker(data, confusion) + guessed[:, None]
    return marginalise(data, log_of(prior), log_of(told))
