"""Worlds in which a worker is a confusion matrix: given, Dawid-Skene, one-coin, and BCC.

Story       truth[i] ~ Categorical(prior)
            label[v] ~ Categorical(confusion[worker[v], truth[item[v]]])
Papers      Dawid and Skene (1979); Kim and Ghahramani (2012), without their hyperpriors, for `bcc`.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Int

from crowdlearn.errors import SettingsError
from crowdlearn.simulate.assign import fixed_per_item
from crowdlearn.simulate.world import (
    Assign,
    World,
    check_sizes,
    draw_labels,
    draw_truth,
    make_votes,
    spread_errors,
    streams,
    uniform_or,
)

FIVE_VOTES = fixed_per_item(5)


def given_workers(
    confusion: Float[np.ndarray, "worker class class"],
    prior: Float[np.ndarray, " class"] | None = None,
    *,
    n_items: int = 1000,
    truth: Int[np.ndarray, " item"] | None = None,
    assign: Assign = FIVE_VOTES,
    seed: int = 0,
) -> World:
    """Votes of workers with these confusion matrices; `prior` None is uniform.

    A given `truth` is taken as it is, and `n_items` is then its length. Raises SettingsError where
    a row of the confusion does not sum to one, or a truth is not a class code.
    """
    n_workers, n_classes, _ = confusion.shape
    check_sizes(n_items, n_workers, n_classes)
    if (confusion < 0).any() or not np.allclose(confusion.sum(axis=2), 1):
        raise SettingsError("confusion has a row that is not a distribution: rows sum to one")
    prior = uniform_or(prior, n_classes)
    for_truth, for_pairs, for_labels = streams(seed, 3)
    drawn = draw_truth(for_truth, prior, n_items) if truth is None else truth.astype(np.int32)
    if len(drawn) == 0 or drawn.min() < 0 or drawn.max() >= n_classes:
        raise SettingsError(f"truth must hold class codes from 0 to {n_classes - 1}, no -1")
    item, worker = assign(for_pairs, len(drawn), n_workers)
    label = draw_labels(for_labels, confusion, item, worker, drawn)
    votes = make_votes(item, worker, label, len(drawn), confusion)
    return World(votes=votes, truth=drawn, confusion=confusion, prior=prior)


def dawid_skene(
    n_items: int = 1000,
    n_workers: int = 50,
    n_classes: int = 3,
    *,
    accuracy: tuple[float, float] = (0.5, 0.95),
    prior: Float[np.ndarray, " class"] | None = None,
    assign: Assign = FIVE_VOTES,
    seed: int = 0,
) -> World:
    """Workers whose chance to be right on each class is uniform in the range `accuracy`.

    Errors are shared out over the other classes by a flat Dirichlet draw. `prior` None is uniform.
    """
    check_sizes(n_items, n_workers, n_classes)
    confusion = ranged_confusion(worker_stream(seed), n_workers, n_classes, accuracy)
    return given_workers(confusion, prior, n_items=n_items, assign=assign, seed=seed)


def one_coin(
    n_items: int = 1000,
    n_workers: int = 50,
    n_classes: int = 3,
    *,
    a: float = 8.0,
    b: float = 3.0,
    prior: Float[np.ndarray, " class"] | None = None,
    assign: Assign = FIVE_VOTES,
    seed: int = 0,
) -> World:
    """Workers with one accuracy ~ Beta(a, b) for all classes; errors are uniform."""
    check_sizes(n_items, n_workers, n_classes)
    accuracy = worker_stream(seed).beta(a, b, n_workers)
    confusion = coin_confusion(accuracy, n_classes)
    return given_workers(confusion, prior, n_items=n_items, assign=assign, seed=seed)


def bcc(
    n_items: int = 1000,
    n_workers: int = 50,
    n_classes: int = 3,
    *,
    alpha: float = 1.0,
    off: float = 1.0,
    diag: float = 4.0,
    assign: Assign = FIVE_VOTES,
    seed: int = 0,
) -> World:
    """prior ~ Dirichlet(alpha), confusion rows ~ Dirichlet(off, with diag on the truth).

    `alpha` infinite makes the prior uniform.
    """
    check_sizes(n_items, n_workers, n_classes)
    rng = worker_stream(seed)
    confusion = dirichlet_confusion(rng, n_workers, n_classes, off, diag)
    prior = dirichlet_prior(rng, alpha, n_classes)
    return given_workers(confusion, prior, n_items=n_items, assign=assign, seed=seed)


def ranged_confusion(
    rng: np.random.Generator, n_workers: int, n_classes: int, accuracy: tuple[float, float]
) -> Float[np.ndarray, "worker class class"]:
    """Diagonals uniform in the range, errors spread by a flat Dirichlet draw."""
    if not 0 <= accuracy[0] <= accuracy[1] <= 1:
        raise SettingsError(f"accuracy is {accuracy}: give two probabilities, the lower first")
    diagonal = rng.uniform(*accuracy, (n_workers, n_classes))
    return spread_errors(diagonal, rng.exponential(size=(n_workers, n_classes, n_classes)))


def coin_confusion(
    accuracy: Float[np.ndarray, " worker"], n_classes: int
) -> Float[np.ndarray, "worker class class"]:
    """Confusion matrices of workers with one accuracy each and uniform errors."""
    diagonal = np.repeat(accuracy[:, None], n_classes, axis=1)
    return spread_errors(diagonal, np.ones((len(accuracy), n_classes, n_classes)))


def dirichlet_confusion(
    rng: np.random.Generator, n_workers: int, n_classes: int, off: float, diag: float
) -> Float[np.ndarray, "worker class class"]:
    """Rows ~ Dirichlet with weight `off` everywhere and `diag` on the truth."""
    if off <= 0 or diag <= 0:
        raise SettingsError(f"off is {off} and diag is {diag}: both must be positive")
    weights = off + (diag - off) * np.eye(n_classes)
    rows = [rng.dirichlet(weights[k], n_workers) for k in range(n_classes)]
    return np.stack(rows, axis=1)


def dirichlet_prior(
    rng: np.random.Generator, alpha: float, n_classes: int
) -> Float[np.ndarray, " class"]:
    """prior ~ Dirichlet(alpha, ..., alpha); uniform for infinite alpha."""
    if alpha <= 0:
        raise SettingsError(f"alpha is {alpha}: it must be positive")
    if math.isinf(alpha):
        return np.full(n_classes, 1 / n_classes)
    return rng.dirichlet(np.full(n_classes, alpha))


def worker_stream(seed: int) -> np.random.Generator:
    """The stream of the workers: the fourth, after those of `given_workers`."""
    return streams(seed, 4)[3]
