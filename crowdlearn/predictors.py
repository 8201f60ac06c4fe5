"""How a fitted method reads the votes of an item: what `predict_proba` and `explain` are made of.

A predictor holds the fitted parameters and nothing of the training items. It takes votes that are
coded in the fit's workers and classes. Every predictor is a frozen bag of arrays, so it can be
saved and loaded without pickling; `PREDICTORS` names them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from scipy.special import digamma, expit

from crowdlearn.votes import Votes

TINY = 1e-30


@runtime_checkable
class Predictor(Protocol):
    def predict(self, votes: Votes) -> Float[np.ndarray, "item class"]:
        """Class posterior of every item; the prior (or uniform) for an item without votes."""
        ...


@dataclass(frozen=True, eq=False)
class ProductPredictor:
    """posterior(state) ~ prior(state) * product over votes of likelihood(worker, label, state).

    Every confusion-matrix story reads votes like this. States are the classes themselves, or the
    subtypes of classes (`state_class` says whose).
    """

    prior: Float[np.ndarray, " state"]
    likelihood: Float[np.ndarray, "worker label state"]
    state_class: Int[np.ndarray, " state"]

    def predict(self, votes: Votes) -> Float[np.ndarray, "item class"]:
        log_vote = np.log(np.maximum(self.likelihood[votes.worker, votes.label], TINY))
        evidence = np.log(np.maximum(self.prior, TINY)) + _sum_by_item(log_vote, votes)
        states = _softmax(evidence)
        classes = np.zeros((votes.n_items, votes.n_classes))
        np.add.at(classes.T, self.state_class, states.T)
        return classes


@dataclass(frozen=True, eq=False)
class MixturePredictor:
    """Each vote is the worker's own answer with the item's easiness, else a guess.

    The easiness of a new item is unknown: its variational posterior, started at Beta(`beta`), and
    the class posterior are found together by the local step of the fit, so the training items get
    the posterior of the fit back. `likelihood` and `guess` are exp E ln of the fitted posteriors.
    """

    prior: Float[np.ndarray, " class"]
    likelihood: Float[np.ndarray, "worker label class"]
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
            evidence = np.log(np.maximum(self.prior, TINY)) + _sum_by_item(np.log(both), votes)
            before, posterior = posterior, _softmax(evidence)
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
    likelihood: Float[np.ndarray, "worker label class"]
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
            evidence = evidence + _sum_by_item(own[:, None] * answer, votes)
            before, posterior = posterior, _softmax(evidence)
            own = expit(odds[item] + (posterior[item] * answer).sum(axis=1) - blind)
            if np.abs(posterior - before).max() < 1e-10:
                break
        return posterior


@dataclass(frozen=True, eq=False)
class SharePredictor:
    """posterior(class) is its share of the votes, each weighing `weight[worker]` >= 0."""

    weight: Float[np.ndarray, " worker"]

    def predict(self, votes: Votes) -> Float[np.ndarray, "item class"]:
        cells = votes.item.astype(np.int64) * votes.n_classes + votes.label
        flat = np.bincount(cells, self.weight[votes.worker], votes.n_items * votes.n_classes)
        sums = flat.reshape(votes.n_items, votes.n_classes)
        totals = sums.sum(axis=1, keepdims=True)
        return np.where(totals > 0, sums / np.maximum(totals, TINY), votes.shares())


PREDICTORS = {
    "product": ProductPredictor,
    "mixture": MixturePredictor,
    "factorised": FactorisedPredictor,
    "share": SharePredictor,
}


def to_arrays(predictor: Predictor) -> dict[str, np.ndarray]:
    """The predictor as named arrays, its kind included."""
    kind = next(name for name, cls in PREDICTORS.items() if type(predictor) is cls)
    values = {f.name: np.asarray(getattr(predictor, f.name)) for f in fields(predictor)}  # type: ignore[arg-type]
    return {"kind": np.array(kind), **values}


def from_arrays(arrays: dict[str, np.ndarray]) -> Predictor:
    """The predictor that `to_arrays` took apart."""
    cls = PREDICTORS[str(arrays["kind"])]
    values = {f.name: arrays[f.name] for f in fields(cls)}
    return cls(**{name: int(v) if v.ndim == 0 else v for name, v in values.items()})


def _sum_by_item(values: np.ndarray, votes: Votes) -> np.ndarray:
    """Sum (vote, state) rows over the votes of each item; zero for an item without votes."""
    sums = np.zeros((votes.n_items, values.shape[1]))
    voted = votes.votes_per_item > 0
    if len(values):
        sums[voted] = np.add.reduceat(values, votes.item_offsets[:-1][voted], axis=0)
    return sums


def _softmax(evidence: np.ndarray) -> np.ndarray:
    shifted = np.exp(evidence - evidence.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
