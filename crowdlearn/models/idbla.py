"""IDBLA: on a hard item a worker guesses, and what is guessed is learned too."""

from __future__ import annotations

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from crowdlearn.hyperparameters import positive
from crowdlearn.models.bcc import class_prior, row_counts
from crowdlearn.models.data import VoteData
from crowdlearn.models.plates import item_plate, of_items
from crowdlearn.models.reading import Reading, log_of, marginalise, of_worker


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
    counts = jnp.full(data.n_classes, positive("guess_count", guess_count))
    guess = numpyro.sample("guess", dist.Dirichlet(counts))
    return read_with_guesses(data, guess, prior_count, off_diagonal, diagonal, easy, hard)


def read_with_guesses(
    data: VoteData,
    guess: Float[Array, " label"],
    prior_count: float,
    off_diagonal: float,
    diagonal: float,
    easy: float,
    hard: float,
) -> Reading:
    """The story of `idbla`, given the distribution of guesses."""
    prior = class_prior(data, prior_count)
    rows = dist.Dirichlet(row_counts(data.n_classes, off_diagonal, diagonal))
    with numpyro.plate("worker", data.n_workers):
        confusion = numpyro.sample("confusion", rows.to_event(1))
    with item_plate(data):
        easinesses = dist.Beta(positive("easy", easy), positive("hard", hard))
        easiness = numpyro.sample("easiness", easinesses)
    sees = of_items(data, easiness)[data.item]
    guessed = (1 - sees) * guess[data.label]
    told = sees[:, None] * of_worker(data, confusion) + guessed[:, None]
    return marginalise(data, log_of(prior), log_of(told))
