"""Readings that settle the parameters of a new item together with its class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import digamma, expit

from crowdlearn.predictors.base import TINY, softmax, sum_by_item
from crowdlearn.sweeps.cuts import CutArray
from crowdlearn.votes import Votes


@dataclass(frozen=True, eq=False)
class MixturePredictor:
    """Each vote is the worker's own answer with the item's easiness, else a guess.

    The easiness of a new item is unknown: its variational posterior, started at Beta(`beta`), and
    the class posterior are found together by the local step of the fit, so the training items get
    the posterior of the fit back. `likelihood` and `guess` are exp E ln of the fitted posteriors.
    """

    prior: Float[np.ndarray, " class"]
    likelihood: Float[np.ndarray, "worker label class"] | CutArray
    guess: Float[np.ndarray, " label"]
    beta: Float[np.ndarray, " 2"]
    max_steps: int = 500

    def predict(self, votes: Votes) -> Float[np.ndarray, "item class"]:
        own = self.likelihood[votes.worker, votes.label]
        guessed = self.guess[votes.label][:, None]
        sure, unsure = np.broadcast_to(self.beta[:, None], (2, votes.n_items))
        item = votes.item
        posterior = np.zeros((votes.n_items, votes.n_classes))
        for _ in range(self.max_steps):
            total = digamma(sure + unsure)
            seen = np.exp(digamma(sure) - total)[item, None] * own
            missed = np.exp(digamma(unsure) - total)[item, None] * guessed
            both = np.maximum(seen + missed, TINY)
            evidence = np.log(np.maximum(self.prior, TINY)) + sum_by_item(np.log(both), votes)
            before, posterior = posterior, softmax(evidence)
            responsible = (posterior[item] * seen / both).sum(axis=1)
            n_seen = np.bincount(item, responsible, minlength=votes.n_items)
            sure = self.beta[0] + n_seen
            unsure = self.beta[1] + votes.votes_per_item - n_seen
            if np.abs(posterior - before).max() < 1e-10:
                break
        return posterior


@dataclass(frozen=True, eq=False)
class FactorisedPredictor:
    """`MixturePredictor` where class and causes of the votes are independent in the posterior."""

    prior: Float[np.ndarray, " class"]
    likelihood: Float[np.ndarray, "worker label class"] | CutArray
    guess: Float[np.ndarray, " label"]
    beta: Float[np.ndarray, " 2"]
    max_steps: int = 500

    def predict(self, votes: Votes) -> Float[np.ndarray, "item class"]:
        item = votes.item
        answer = np.log(np.maximum(self.likelihood[votes.worker, votes.label], TINY))
        blind = np.log(np.maximum(self.guess, TINY))[votes.label]
        own = np.full(votes.n_votes, self.beta[0] / self.beta.sum())
        posterior = np.zeros((votes.n_items, votes.n_classes))
        for _ in range(self.max_steps):
            n_seen = np.bincount(item, own, minlength=votes.n_items)
            odds = digamma(self.beta[0] + n_seen) - digamma(
                self.beta[1] + votes.votes_per_item - n_seen
            )
            evidence = np.log(np.maximum(self.prior, TINY))
            evidence = evidence + sum_by_item(own[:, None] * answer, votes)
            before, posterior = posterior, softmax(evidence)
            own = expit(odds[item] + (posterior[item] * answer).sum(axis=1) - blind)
            if np.abs(posterior - before).max() < 1e-10:
                break
        return posterior


@dataclass(frozen=True, eq=False)
class AbilityPredictor:
    """A vote is right with probability sigmoid(ability * easiness), errors fall anywhere alike.

    The log easiness of a new item is its best value given its votes under a normal distribution,
    `normal` its mean and standard deviation; it is found as the fit finds it, so the training items
    get the posterior of the fit back.
    """

    ability: Float[np.ndarray, " worker"]
    normal: Float[np.ndarray, " 2"]

    def predict(self, votes: Votes) -> Float[np.ndarray, "item class"]:
        from crowdlearn.sweeps.ability import AbilitySweeper

        home = AbilitySweeper(votes, np.full(votes.n_items, -1, dtype=np.int32))
        return home.settle(self.ability, *self.normal.tolist())[1]


@dataclass(frozen=True, eq=False)
class LogitPredictor:
    """P(label | truth k) is softmax(worker's scores + item's scores), truths equally likely.

    The scores of a new item are unknown: they maximise its penalised likelihood by the item's steps
    of the fit, so the training items get the posterior of the fit back.
    """

    scores: Float[np.ndarray, "worker class label"]
    penalty: Float[np.ndarray, " 1"]  # weight of half the squares of an item's scores
    max_steps: int = 1000

    def predict(self, votes: Votes) -> Float[np.ndarray, "item class"]:
        from crowdlearn.sweeps.logits import Side, read_items
        from crowdlearn.sweeps.pool import Pool

        side, pool, nobody = Side.of_items(votes), Pool(1), np.full(votes.n_items, -1, np.int32)
        items = np.zeros((votes.n_items, *self.scores.shape[1:]))
        posterior = votes.shares()
        for _ in range(self.max_steps):
            side.climb(posterior, items, self.scores, float(self.penalty[0]), pool)
            if read_items(side, nobody, items, self.scores, posterior, pool)[1] < 1e-10:
                break
        return posterior
