"""Worlds in which hard items make workers guess: IDBLA with a drawn guess, Fixed-IDBLA uniform.

Story       truth[i] ~ Categorical(prior),  easiness[i] ~ Beta(a, b),  difficulty = 1 - easiness
            sees[v] ~ Bernoulli(easiness[item[v]])
            label[v] ~ Categorical(confusion[worker[v], truth[item[v]]]) if it sees, else of guess
Paper       Hong (2017), arXiv 1706.03930; the story is a reconstruction from what is public of it.
Departures  The paper's synthetic set is not published. `fixed_idbla(n_workers=100, n_classes=5,
            a=6, alpha=inf, assign=uniform_pairs(11615))` comes near its majority-vote error.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from crowdlearn.errors import SettingsError
from crowdlearn.simulate.dawid_skene import (
    FIVE_VOTES,
    dirichlet_confusion,
    dirichlet_prior,
    worker_stream,
)
from crowdlearn.simulate.world import (
    Assign,
    World,
    check_sizes,
    draw_labels,
    draw_rows,
    draw_truth,
    make_votes,
    streams,
)


def idbla(
    n_items: int = 1000,
    n_workers: int = 50,
    n_classes: int = 3,
    *,
    a: float = 9.0,
    b: float = 1.0,
    gamma: float = 1.0,
    alpha: float = 1.0,
    off: float = 1.0,
    diag: float = 4.0,
    assign: Assign = FIVE_VOTES,
    seed: int = 0,
) -> World:
    """All workers guess from one distribution ~ Dirichlet(gamma); prior ~ Dirichlet(alpha).

    Infinite `gamma` or `alpha` means uniform; infinite `a` means that nobody ever guesses.
    """
    check_sizes(n_items, n_workers, n_classes)
    guess = dirichlet_prior(streams(seed, 6)[5], gamma, n_classes)
    rng = worker_stream(seed)
    confusion = dirichlet_confusion(rng, n_workers, n_classes, off, diag)
    prior = dirichlet_prior(rng, alpha, n_classes)
    return _guessing_world(n_items, confusion, prior, guess, a, b, assign, seed)


def fixed_idbla(
    n_items: int = 1000,
    n_workers: int = 50,
    n_classes: int = 3,
    *,
    a: float = 9.0,
    b: float = 1.0,
    alpha: float = 1.0,
    off: float = 1.0,
    diag: float = 4.0,
    assign: Assign = FIVE_VOTES,
    seed: int = 0,
) -> World:
    """As `idbla`, but every class is guessed equally often."""
    return idbla(
        n_items,
        n_workers,
        n_classes,
        a=a,
        b=b,
        gamma=math.inf,
        alpha=alpha,
        off=off,
        diag=diag,
        assign=assign,
        seed=seed,
    )


def _guessing_world(
    n_items: int,
    confusion: Float[np.ndarray, "worker class class"],
    prior: Float[np.ndarray, " class"],
    guess: Float[np.ndarray, " class"],
    a: float,
    b: float,
    assign: Assign,
    seed: int,
) -> World:
    if a <= 0 or b <= 0:
        raise SettingsError(f"a is {a} and b is {b}: the easiness Beta(a, b) needs positive ones")
    for_truth, for_pairs, for_labels, _, for_items, for_guesses = streams(seed, 6)
    truth = draw_truth(for_truth, prior, n_items)
    item, worker = assign(for_pairs, n_items, len(confusion))
    difficulty = np.zeros(n_items) if math.isinf(a) else for_items.beta(b, a, n_items)
    label = draw_labels(for_labels, confusion, item, worker, truth)
    guesses = np.flatnonzero(for_guesses.random(len(item)) < difficulty[item])
    label[guesses] = draw_rows(for_guesses, guess[None], np.zeros(len(guesses), dtype=np.int32))
    return World(
        votes=make_votes(item, worker, label, n_items, confusion),
        truth=truth,
        confusion=confusion,
        prior=prior,
        difficulty=difficulty,
        guess=guess,
    )
