"""Votes of an item multiplied: one reading, many draws, or a discounted mean of several."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from crowdlearn.predictors.base import TINY, softmax, sum_by_item, tempered
from crowdlearn.sweeps.cuts import CutArray
from crowdlearn.votes import Votes


@dataclass(frozen=True, eq=False)
class ProductPredictor:
    """posterior(state) ~ prior(state) * product over votes of likelihood(worker, label, state).

    Every confusion-matrix story reads votes like this. States are the classes themselves, or the
    subtypes of classes (`state_class` says whose).
    """

    prior: Float[np.ndarray, " state"]
    likelihood: Float[np.ndarray, "worker label state"] | CutArray
    state_class: Int[np.ndarray, " state"]

    def predict(self, votes: Votes) -> Float[np.ndarray, "item class"]:
        log_vote = np.log(np.maximum(self.likelihood[votes.worker, votes.label], TINY))
        evidence = np.log(np.maximum(self.prior, TINY)) + sum_by_item(log_vote, votes)
        states = softmax(evidence)
        classes = np.zeros((votes.n_items, votes.n_classes))
        np.add.at(classes.T, self.state_class, states.T)
        return classes


@dataclass(frozen=True, eq=False)
class DrawsPredictor:
    """The mean over draws of what `ProductPredictor` says under each draw."""

    prior: Float[np.ndarray, "draw state"]
    likelihood: Float[np.ndarray, "draw worker label state"]
    state_class: Int[np.ndarray, " state"]

    def predict(self, votes: Votes) -> Float[np.ndarray, "item class"]:
        total = np.zeros((votes.n_items, votes.n_classes))
        for prior, likelihood in zip(self.prior, self.likelihood, strict=True):
            total += ProductPredictor(prior, likelihood, self.state_class).predict(votes)
        return total / len(self.prior)


@dataclass(frozen=True, eq=False)
class TemperedPredictor:
    """The mean of several product readings, in each of which an item's votes are discounted.

    `m` votes are worth m / (1 + (m - 1) * correlation) independent ones, and the log prior counts
    `power` times: see `inference/tempering.py`.
    """

    prior: Float[np.ndarray, "resample class"]
    likelihood: Float[np.ndarray, "resample worker label class"]
    power: Float[np.ndarray, " 1"]
    correlation: Float[np.ndarray, " 1"]

    def predict(self, votes: Votes) -> Float[np.ndarray, "item class"]:
        setting = float(self.power[0]), float(self.correlation[0])
        posterior = np.zeros((votes.n_items, votes.n_classes))
        for prior, likelihood in zip(self.prior, self.likelihood, strict=True):
            log_vote = np.log(np.maximum(likelihood[votes.worker, votes.label], TINY))
            evidence = sum_by_item(log_vote, votes)
            posterior += tempered(np.log(prior), evidence, votes.votes_per_item, *setting)
        return posterior / len(self.prior)
