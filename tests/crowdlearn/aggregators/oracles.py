"""Exact posteriors by enumeration of truths (and causes), parameters integrated out."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from scipy.special import betaln, gammaln, logsumexp

from crowdlearn.votes import Votes


def log_dirichlet_multinomial(counts: np.ndarray, alpha: np.ndarray) -> float:
    """Log probability of a sequence of draws with these counts, last axis the categories."""
    return float(
        (
            gammaln(alpha.sum(axis=-1))
            - gammaln((alpha + counts).sum(axis=-1))
            + (gammaln(alpha + counts) - gammaln(alpha)).sum(axis=-1)
        ).sum()
    )


def exact_truths(
    votes: Votes, log_joint: Callable[[np.ndarray], float], n_states: int
) -> tuple[np.ndarray, float]:
    """Posterior (item, state) and log evidence, summing over all worlds of states."""
    worlds = list(itertools.product(range(n_states), repeat=votes.n_items))
    logs = np.array([log_joint(np.array(world)) for world in worlds])
    weights = np.exp(logs - logsumexp(logs))
    posterior = np.zeros((votes.n_items, n_states))
    for world, weight in zip(worlds, weights, strict=True):
        posterior[np.arange(votes.n_items), world] += weight
    return posterior, float(logsumexp(logs))


def bcc_log_joint(
    votes: Votes, prior_count: float, rows: np.ndarray
) -> Callable[[np.ndarray], float]:
    """log p(votes, truths) of BCC; `rows[k]` are the Dirichlet parameters of row k."""
    n_classes = votes.n_classes

    def log_joint(truth: np.ndarray) -> float:
        classes = np.bincount(truth, minlength=n_classes).astype(float)
        counts = np.zeros((votes.n_workers, n_classes, n_classes))
        np.add.at(counts, (votes.worker, truth[votes.item], votes.label), 1)
        return log_dirichlet_multinomial(
            classes, np.full(n_classes, prior_count)
        ) + log_dirichlet_multinomial(counts, rows)

    return log_joint


def idbla_log_joint(
    votes: Votes,
    prior_count: float,
    rows: np.ndarray,
    beta: tuple[float, float],
    guess_count: float | None,
) -> Callable[[np.ndarray], float]:
    """log p(votes, truths) of the difficulty story; `guess_count` None is a uniform guess."""
    n_classes = votes.n_classes
    causes = np.array(list(itertools.product((0, 1), repeat=votes.n_votes)))

    def log_joint(truth: np.ndarray) -> float:
        classes = np.bincount(truth, minlength=n_classes).astype(float)
        logs = []
        for seen in causes:
            counts = np.zeros((votes.n_workers, n_classes, n_classes))
            np.add.at(counts, (votes.worker, truth[votes.item], votes.label), seen)
            guessed = np.bincount(votes.label, 1 - seen, minlength=n_classes)
            n_seen = np.bincount(votes.item, seen, minlength=votes.n_items)
            easy = betaln(beta[0] + n_seen, beta[1] + votes.votes_per_item - n_seen) - betaln(*beta)
            guess = (
                -guessed.sum() * np.log(n_classes)
                if guess_count is None
                else log_dirichlet_multinomial(guessed, np.full(n_classes, guess_count))
            )
            logs.append(log_dirichlet_multinomial(counts, rows) + easy.sum() + guess)
        return log_dirichlet_multinomial(classes, np.full(n_classes, prior_count)) + float(
            logsumexp(logs)
        )

    return log_joint
