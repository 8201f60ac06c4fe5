"""Votes and features together: a classifier is the prior of every item in a model of the workers.

Story       truth[i] ~ Categorical(prior * h(x_i) / mean h),  h a classifier
            label[v] ~ Categorical(confusion[worker[v], truth[item[v]]])
            confusions as in `learning/workers.py`
Inference   Alternate: the classifier is trained on the posterior as soft labels, and speaks about
            each item only through a fit that has not seen it (out of fold); mean-field sweeps
            settle posteriors and workers under that prior. Whenever the posteriors have moved by
            more than `retrain_above` in the mean since it was trained, it is trained anew.
Papers      Raykar et al. (2010), Learning from crowds, JMLR: classifier and workers in one model.
            LABNET: Ghiassi, Birke and Chen (2022), ICAART: iterate, with a rule for retraining;
            reconstructed from its abstract.
Departures  Out-of-fold probabilities, of the same folds in every round. h stands over its mean: a
            classifier that knows nothing then leaves plain BCC. Bayesian workers.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from scipy.special import digamma, softmax

from crowdlearn.aggregation import Aggregation, History, OnSweep, Sweep
from crowdlearn.aggregators.outcome import beta_interval, clamped, conclude
from crowdlearn.errors import SettingsError, VotesError
from crowdlearn.gold import gold_codes
from crowdlearn.learning.classifiers import (
    Classifier,
    FittedClassifier,
    classifier,
    out_of_fold,
)
from crowdlearn.learning.workers import WORKERS
from crowdlearn.predictors import ProductPredictor
from crowdlearn.votes import Votes

LEAST = 1e-12  # probability of a class that a classifier rules out


@dataclass(frozen=True, eq=False)
class FeatureAwareFit:
    """Result: the aggregation of the votes, and the classifier trained on its posteriors.

    `out_of_fold` is what the classifier said of each item without having seen it. `n_trained` is
    how often it was trained.
    """

    aggregation: Aggregation
    classifier: FittedClassifier
    out_of_fold: Float[np.ndarray, "item class"]
    n_trained: int

    def predict_proba(
        self, features: Float[np.ndarray, "item feature"], votes: Votes | None = None
    ) -> Float[np.ndarray, "item class"]:
        """Probabilities of new items: by the classifier, and by their votes where there are any.

        Raises VotesError for votes of other items than there are rows of features, and as
        `Aggregation.predict_proba` does.
        """
        said = self.classifier.predict_proba(features)
        if votes is None:
            return said
        if votes.n_items != len(features):
            raise VotesError(f"{len(features)} rows of features for {votes.n_items} items")
        by_votes = np.log(np.maximum(self.aggregation.predict_proba(votes), LEAST))
        return np.asarray(softmax(by_votes + _lean(said, self.out_of_fold.mean(axis=0)), axis=1))


@dataclass(frozen=True, kw_only=True)
class FeatureAware:
    """Settings; `workers` is one-coin, per-class or full (see `learning/workers.py`).

    One accuracy a worker is the default because a crowd that comes with features is mostly a sparse
    one: a full matrix is learned from hundreds of votes a worker.
    """

    name: ClassVar[str] = "feature-aware"
    random: ClassVar[bool] = True

    classifier: Classifier = field(default_factory=lambda: classifier("logistic"))
    workers: str = "one-coin"
    eta: float = 1.0  # power of what the classifier says
    n_folds: int = 5
    retrain_above: float = 0.01
    max_rounds: int = 20
    max_sweeps: int = 500
    tolerance: float = 1e-6
    prior_count: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.workers not in WORKERS:
            raise SettingsError(f"workers {self.workers!r} is not one of {', '.join(WORKERS)}")
        if self.eta < 0 or self.retrain_above < 0 or self.max_rounds < 1 or self.max_sweeps < 1:
            raise SettingsError(
                "eta and retrain_above are at least 0, max_rounds and max_sweeps at least 1"
            )

    def fit(
        self,
        votes: Votes,
        features: Float[np.ndarray, "item feature"],
        *,
        gold: Any = None,
        on_sweep: OnSweep | None = None,
    ) -> FeatureAwareFit:
        """Posteriors of the votes' items, row i of `features` being item i.

        `on_sweep` hears of every round. Raises VotesError where rows and items differ in number or
        a feature is not finite.
        """
        started = time.perf_counter()
        features = check_features(votes, features)
        known = gold_codes(votes, gold)
        tau, course, stopped, n_trained = clamped(votes.shares(), known), [], False, 0
        said = np.tile(tau.mean(axis=0), (votes.n_items, 1))
        moved = np.inf
        while moved > self.retrain_above and n_trained < self.max_rounds and not stopped:
            said = out_of_fold(self.classifier, features, tau, n_folds=self.n_folds, seed=self.seed)
            n_trained += 1
            before = tau
            tau, rows, log_rows, log_prior = self._settle(votes, known, said, tau)
            moved = float(np.abs(tau - before).mean())
            course.append(moved)
            if on_sweep is not None:
                stopped = bool(on_sweep(Sweep(n_trained, self.max_rounds, moved, float("nan"))))
        history = History(
            bound=np.full(len(course), np.nan), change=np.array(course), bound_name="none",
            converged=moved <= self.retrain_above, stopped=stopped,
        )  # fmt: skip
        prior = tau.mean(axis=0)
        predictor = ProductPredictor(
            np.exp(log_prior), np.exp(log_rows).transpose(0, 2, 1).copy(),
            np.arange(votes.n_classes),
        )  # fmt: skip
        found = conclude(
            self, votes, gold=known, posterior=tau, prior=prior, confusion=rows,
            worker_accuracy=self._accuracy(votes, tau, rows, prior), history=history,
            predictor=predictor, started=started,
        )  # fmt: skip
        return FeatureAwareFit(found, self.classifier.fit(features, tau), said, n_trained)

    def _settle(
        self, votes: Votes, known: np.ndarray, said: np.ndarray, tau: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Sweeps under the classifier's word: posterior, mean rows, E log rows, E log prior."""
        lean, item = self.eta * _lean(said, said.mean(axis=0)), votes.item
        for _ in range(self.max_sweeps):
            log_rows, rows = WORKERS[self.workers](_counts(votes, tau))
            in_class = tau.sum(axis=0) + self.prior_count
            log_prior = digamma(in_class) - digamma(in_class.sum())
            evidence = log_prior + lean
            np.add.at(evidence, item, log_rows[votes.worker, :, votes.label])
            before, tau = tau, clamped(np.asarray(softmax(evidence, axis=1)), known)
            if np.abs(tau - before).max() <= self.tolerance:
                break
        return tau, rows, log_rows, log_prior

    def _accuracy(self, votes: Votes, tau: np.ndarray, rows: np.ndarray, prior: np.ndarray) -> Any:
        """Accuracy of workers on items drawn from the prior, and how sure it is."""
        right = np.einsum("wkk->wk", rows)
        weight = _counts(votes, tau).sum(axis=2) + 2
        variance = right * (1 - right) / (weight + 1)
        return beta_interval(right @ prior, variance @ prior**2)


def check_features(votes: Votes, features: np.ndarray) -> Float[np.ndarray, "item feature"]:
    """The features as floats. Raises VotesError where they do not fit the votes."""
    found = np.asarray(features, dtype=np.float64)
    if found.ndim != 2 or len(found) != votes.n_items:
        raise VotesError(
            f"features have shape {found.shape}, where {votes.n_items} items need as many rows, "
            "row i being item i of votes.items"
        )
    bad = np.argwhere(~np.isfinite(found))
    if len(bad):
        name = votes.items[int(bad[0, 0])].as_py()
        raise VotesError(f"feature {bad[0, 1]} of item {name!r} is not a finite number")
    return found


def _lean(said: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """What a classifier adds to the log prior: log h(x) - log mean h."""
    return np.log(np.maximum(said, LEAST)) - np.log(np.maximum(mean, LEAST))


def _counts(votes: Votes, tau: np.ndarray) -> Float[np.ndarray, "worker class class"]:
    """How often each worker gave each label to items of each class."""
    n, found = votes.n_classes, []
    cell = (votes.worker.astype(np.int64) * n) + votes.label
    of_vote = tau[votes.item]
    for k in range(n):
        found.append(np.bincount(cell, of_vote[:, k], minlength=votes.n_workers * n))
    return np.stack([f.reshape(votes.n_workers, n) for f in found], axis=1)
