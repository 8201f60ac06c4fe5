"""Calibrated: probabilities to act on, from votes that are not independent.

Story       confusion[w, k] ~ Dirichlet(strength * mean[k])    as alike as the votes say
            truth[i] ~ Categorical(prior)
            label[v] ~ Categorical(confusion[worker[v], truth[item[v]]])
            but an item's votes share causes: m of them are worth m / (1 + (m - 1) * correlation)
            independent ones (`inference/tempering.py`).
Inference   Many fits, in each of which the votes of every item count Poisson(1) times; EM with rows
            at their posterior means and `strength` at its most likely value. Votes on items that a
            fit left out are predicted by it, which teaches the correlation and the weight of the
            prior. The posterior is the mean of the fits' tempered posteriors. Confusions and worker
            accuracies are counted against it.
Sources     Bootstrap and out-of-bag prediction: Breiman (1996). Likelihoods to random powers:
            Newton and Raftery (1994). Design effect: Kish (1965). The method as a whole is ours.
Departures  Errors that the whole crowd shares leave no trace in the votes: the correlation that
            they show is multiplied by `unseen`. That one number cannot be learned without truth.
            2 was chosen with the truth of 15 public sets at hand. Chosen for every set by the log
            loss of the others (`python -m benchmarks.calibration`) it is 2.25 to 2.75.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int
from scipy.special import softmax

from crowdlearn.aggregation import Aggregation, History, OnSweep, Sweep
from crowdlearn.aggregators.outcome import clamped, conclude
from crowdlearn.aggregators.settings import check_settings
from crowdlearn.aggregators.shrinking import (
    counted,
    first_strength,
    shrunken,
    workers_against,
)
from crowdlearn.gold import gold_codes
from crowdlearn.inference.tempering import HeldOut
from crowdlearn.predictors import TemperedPredictor
from crowdlearn.predictors.base import tempered
from crowdlearn.sweeps import sweeper
from crowdlearn.votes import Votes


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """Settings of Calibrated; `unseen` 0 takes votes as independent, larger doubts them more."""

    name: ClassVar[str] = "calibrated"
    random: ClassVar[bool] = True

    n_resamples: int = 16
    unseen: float = 2.0
    max_sweeps: int = 200
    tolerance: float = 1e-3
    seed: int = 0
    device: str = "auto"
    n_threads: int = 0

    def __post_init__(self) -> None:
        check_settings(self)

    def fit(
        self, votes: Votes, *, gold: Any = None, on_sweep: OnSweep | None = None
    ) -> Aggregation:
        """Calibrated posteriors; `on_sweep` hears of every resample, its bound is nan."""
        started = time.perf_counter()
        known = gold_codes(votes, gold)
        home = sweeper(votes, known, device=self.device, n_threads=self.n_threads)
        rng = np.random.default_rng(self.seed)
        held_out = HeldOut.of(votes, known, rng)
        fits: list[_Fit] = []
        stopped = False
        while len(fits) < self.n_resamples and not stopped:
            repeats = _repeats(votes.n_items, rng)
            fits.append(_one_fit(home, votes, known, repeats, self.max_sweeps, self.tolerance))
            last = fits[-1]
            evidence = _evidence(home, last.likelihood)
            held_out.add(votes, repeats == 0, last.prior, last.likelihood, evidence)
            if on_sweep is not None:
                at = Sweep(len(fits), self.n_resamples, last.change, float("nan"))
                stopped = bool(on_sweep(at))
        predictor = self._predictor(fits, held_out)
        each = [
            clamped(_read(predictor, votes, index, _evidence(home, fit.likelihood)), known)
            for index, fit in enumerate(fits)
        ]
        posterior = np.mean(each, axis=0)
        confusion, accuracy = workers_against(home, votes, posterior, each)
        return conclude(
            self,
            votes,
            gold=known,
            posterior=posterior,
            prior=posterior.mean(axis=0),
            confusion=confusion,
            worker_accuracy=accuracy,
            history=self._history(fits, stopped),
            predictor=predictor,
            started=started,
        )

    def _predictor(self, fits: list[_Fit], held_out: HeldOut) -> TemperedPredictor:
        learned = held_out.best()
        return TemperedPredictor(
            prior=np.stack([fit.prior for fit in fits]),
            likelihood=np.stack([fit.likelihood for fit in fits]),
            power=np.array([learned.power]),
            correlation=np.array([min(self.unseen * learned.correlation, 1.0)]),
        )

    def _history(self, fits: list[_Fit], stopped: bool) -> History:
        change = np.array([fit.change for fit in fits])
        return History(
            bound=np.full(len(fits), np.nan),
            change=change,
            bound_name="none",
            converged=bool((change <= self.tolerance).all()) and not stopped,
            stopped=stopped,
        )


@dataclass(frozen=True, eq=False)
class _Fit:
    """The parameters of one resample."""

    prior: Float[np.ndarray, " class"]
    likelihood: Float[np.ndarray, "worker label class"]
    change: float  # of a posterior probability in the last sweep


def _one_fit(
    home: Any,
    votes: Votes,
    known: Int[np.ndarray, " item"],
    repeats: Float[np.ndarray, " item"],
    max_sweeps: int,
    tolerance: float,
) -> _Fit:
    """EM where the votes of item `i` count `repeats[i]` times."""
    posterior = clamped(votes.shares(), known)
    strength, change = first_strength(votes.n_classes), np.inf
    for _ in range(max_sweeps):
        counts = counted(home, votes, posterior * repeats[:, None])
        likelihood, strength = shrunken(counts, strength)
        prior = (posterior.sum(axis=0) + 1) / (votes.n_items + votes.n_classes)
        evidence = repeats[:, None] * _evidence(home, likelihood)
        before, posterior = posterior, clamped(softmax(np.log(prior) + evidence, axis=1), known)
        change = float(np.abs(posterior - before).max())
        if change <= tolerance:
            break
    return _Fit(prior, likelihood.astype(home.dtype), change)


def _repeats(n_items: int, rng: np.random.Generator) -> Float[np.ndarray, " item"]:
    """How often each item counts: Poisson(1), but not zero for all."""
    repeats = rng.poisson(1.0, n_items).astype(np.float64)
    return repeats if repeats.any() else np.ones(n_items)


def _evidence(
    home: Any, likelihood: Float[np.ndarray, "worker label class"]
) -> Float[np.ndarray, "item class"]:
    """Log likelihood of every item's votes for each class, nats."""
    return np.asarray(home.evidence(np.log(likelihood).ravel()), np.float64)


def _read(
    predictor: TemperedPredictor, votes: Votes, index: int, evidence: np.ndarray
) -> Float[np.ndarray, "item class"]:
    """What one resample says of every item."""
    return tempered(
        np.log(predictor.prior[index]),
        evidence,
        votes.votes_per_item,
        float(predictor.power[0]),
        float(predictor.correlation[0]),
    )
