"""What the passes should give, by loops over items and votes and by enumeration."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.special import logsumexp

from crowdlearn.sweeps.kernels import TINY
from crowdlearn.votes import Votes


@dataclass(frozen=True, eq=False)
class Scene:
    """Votes and parameters of a pass."""

    votes: Votes
    gold: np.ndarray
    state_class: np.ndarray
    prior: np.ndarray
    table: np.ndarray  # (worker, label, state)
    guess: np.ndarray
    easiness: np.ndarray

    @property
    def n_states(self) -> int:
        return len(self.prior)

    @property
    def flat(self) -> np.ndarray:
        return self.table.ravel()

    def votes_of(self, item: int) -> range:
        here = self.votes.votes_of(item)
        return range(here.start, here.stop)

    def row(self, vote: int) -> np.ndarray:
        """The vote's table entries, by state."""
        return self.table[self.votes.worker[vote], self.votes.label[vote]]

    def possible(self, item: int) -> np.ndarray:
        return (self.gold[item] < 0) | (self.state_class == self.gold[item])


def scene(
    *,
    n_items: int = 30,
    n_subtypes: int = 1,
    most_votes: int = 4,
    with_gold: bool = True,
    seed: int = 0,
) -> Scene:
    """Random votes, repeated ones among them, and items without any; 5 workers, 3 classes."""
    rng = np.random.default_rng(seed)
    n_workers, n_classes = 5, 3
    item = np.repeat(np.arange(n_items), rng.integers(0, most_votes + 1, n_items))
    votes = Votes.from_codes(
        item,
        rng.integers(0, n_workers, len(item)),
        rng.integers(0, n_classes, len(item)),
        items=n_items,
        workers=n_workers,
        classes=n_classes,
    )
    n_states = n_classes * n_subtypes
    gold = rng.integers(0, n_classes, n_items) if with_gold else np.full(n_items, -1)
    return Scene(
        votes=votes,
        gold=np.where(rng.random(n_items) < 0.2, gold, -1),
        state_class=np.repeat(np.arange(n_classes), n_subtypes),
        prior=rng.dirichlet(np.ones(n_states)),
        table=rng.dirichlet(np.full(n_classes, 0.5), (n_workers, n_states))
        .transpose(0, 2, 1)
        .copy(),
        guess=rng.dirichlet(np.ones(n_classes)),
        easiness=rng.beta(3, 1, n_items),
    )


def posterior(given: Scene) -> tuple[np.ndarray, float]:
    """Posterior of every item's state, and the log evidence, in log space vote by vote."""
    rows, total = [], 0.0
    for item in range(given.votes.n_items):
        factors = np.array([given.prior, *(given.row(vote) for vote in given.votes_of(item))])
        logs = np.array([math.fsum(column) for column in np.log(factors).T])
        logs = np.where(given.possible(item), logs, -np.inf)
        rows.append(np.exp(logs - logsumexp(logs)))
        total += logsumexp(logs)
    return np.array(rows), total


def counts(given: Scene, weight: np.ndarray) -> np.ndarray:
    """Sum of the weight rows (one a vote) of every worker and label."""
    cube = np.zeros_like(given.table)
    for vote in range(given.votes.n_votes):
        cube[given.votes.worker[vote], given.votes.label[vote]] += weight[vote]
    return cube.ravel()


@dataclass(frozen=True, eq=False)
class Enumerated:
    """The difficulty story by enumeration of every item's state and of who saw it."""

    posterior: np.ndarray
    counts: np.ndarray
    seen: np.ndarray
    guessed: np.ndarray
    log_evidence: float


def worlds(given: Scene, item: int) -> list[tuple[int, tuple[int, ...], float]]:
    """(state, causes of the votes, joint probability) of everything that may be with an item."""
    found = []
    easy, here = given.easiness[item], given.votes_of(item)
    for state in np.flatnonzero(given.possible(item)):
        for causes in product((0, 1), repeat=len(here)):
            chance = given.prior[state]
            for vote, cause in zip(here, causes, strict=True):
                blind = (1 - easy) * given.guess[given.votes.label[vote]]
                chance *= easy * given.row(vote)[state] if cause else blind
            found.append((int(state), causes, float(chance)))
    return found


def enumerate_mixture(given: Scene) -> Enumerated:
    """Every expectation of the difficulty story, world by world."""
    votes = given.votes
    rows = np.zeros((votes.n_items, given.n_states))
    weight = np.zeros((votes.n_votes, given.n_states))
    seen, guessed, log_evidence = np.zeros(votes.n_items), np.zeros(votes.n_classes), 0.0
    for item in range(votes.n_items):
        found = worlds(given, item)
        total = sum(chance for _, _, chance in found)
        log_evidence += np.log(total)
        for state, causes, chance in found:
            rows[item, state] += chance / total
            seen[item] += sum(causes) * chance / total
            for vote, cause in zip(given.votes_of(item), causes, strict=True):
                weight[vote, state] += cause * chance / total
                guessed[votes.label[vote]] += (1 - cause) * chance / total
    return Enumerated(rows, counts(given, weight), seen, guessed, float(log_evidence))


def factorised_bound(given: Scene, rows: np.ndarray, own: np.ndarray) -> float:
    """E log joint + entropy of q(state) * product of q(cause), summed world by world."""
    bound = 0.0
    for item in range(given.votes.n_items):
        here = list(given.votes_of(item))
        for state, causes, chance in worlds(given, item):
            q = rows[item, state]
            for vote, cause in zip(here, causes, strict=True):
                q *= own[vote] if cause else 1 - own[vote]
            bound += q * (np.log(chance) - np.log(q)) if q > 0 else 0.0
    return float(bound)


def many_votes(labels: np.ndarray, table: np.ndarray) -> Scene:
    """One item with these votes, all of one worker with this table (label, state)."""
    item = np.zeros(len(labels), int)
    return Scene(
        votes=Votes.from_codes(item, item, labels, classes=3),
        gold=np.array([-1]),
        state_class=np.arange(3),
        prior=np.full(3, 1 / 3),
        table=table[None],
        guess=np.full(3, 1 / 3),
        easiness=np.array([1 - 1e-12]),
    )


def nearly(right: float) -> np.ndarray:
    return np.where(np.eye(3, dtype=bool), right, (1 - right) / 2)


DEEP = {
    "5,000 votes that agree": many_votes(np.zeros(5000, int), nearly(0.5)),
    "5,000 votes, wrong ones first": many_votes(np.repeat([0, 1], [2000, 3000]), nearly(0.99)),
    "wrong ones last": many_votes(np.repeat([1, 0], [3000, 2000]), nearly(0.99)),
    "taking turns": many_votes(np.arange(5000) % 3, nearly(0.99)),
    "chances of 1e-12": many_votes(np.repeat([0, 1], [2000, 2001]), nearly(1 - 2e-12)),
    "zero cells against zero cells": many_votes(
        np.repeat([0, 1, 2], [40, 41, 40]), np.maximum(np.eye(3), TINY)
    ),
    "no class ever explains a vote": many_votes(
        np.zeros(99, int), np.full((3, 3), TINY) * [[1], [2], [3]]
    ),
}
