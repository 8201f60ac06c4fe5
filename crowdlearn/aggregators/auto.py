"""Auto: methods averaged by how well they predict votes that they have not seen.

Inference   A fifth of the votes is left out, every method is fitted to the rest, and each vote left
            out is predicted from what the method believes of its item, against confusions that are
            counted the same way for all. Beliefs are discounted for what an item's votes share
            (`inference/tempering.py`), each method's by the correlation that makes it predict best.
            Stacking turns the predictions into weights. The answer is the weighted mean of the
            discounted posteriors of fits to all votes. No truth enters.
Paper       Yao et al. (2018), Bayesian Analysis 13(3), see `inference/stacking.py`.
Departures  What is predicted is votes, not truths: a method that explains a misled crowd well gets
            weight although it is wrong. As in `calibrated`, correlations count `unseen` times.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int

from crowdlearn.aggregation import Aggregation, History, OnSweep, Sweep
from crowdlearn.aggregators.calibrated import Calibrated
from crowdlearn.aggregators.outcome import clamped, conclude
from crowdlearn.aggregators.settings import check_settings
from crowdlearn.aggregators.shrinking import (
    SETTLED,
    counted,
    first_strength,
    shrunken,
    workers_against,
)
from crowdlearn.errors import SettingsError
from crowdlearn.gold import gold_codes
from crowdlearn.inference.stacking import stacking_weights
from crowdlearn.inference.tempering import CORRELATIONS
from crowdlearn.predictors import StackedPredictor, TemperedPredictor
from crowdlearn.sweeps import sweeper
from crowdlearn.votes import Votes

SHARE = 5  # one vote in so many is left out
TINY = 1e-300


@dataclass(frozen=True, kw_only=True)
class Auto:
    """Settings of Auto; `methods` are names in the table, and `calibrated` is always among them."""

    name: ClassVar[str] = "auto"
    random: ClassVar[bool] = True

    methods: tuple[str, ...] = ("dawid-skene", "minimax-entropy")
    n_folds: int = 2
    n_resamples: int = 16
    unseen: float = 2.0
    seed: int = 0
    device: str = "auto"
    n_threads: int = 0

    def __post_init__(self) -> None:
        check_settings(self)
        if self.n_folds > SHARE:
            raise SettingsError(f"n_folds must be at most {SHARE}, not {self.n_folds}")
        for name in self.methods:
            self._make(name)

    def fit(
        self, votes: Votes, *, gold: Any = None, on_sweep: OnSweep | None = None
    ) -> Aggregation:
        """Stacked posteriors; `on_sweep` hears of every fit of a method, its bound is nan.

        Stopped early, the weights come from the folds done by then, else all is `calibrated`.
        """
        started = time.perf_counter()
        known = gold_codes(votes, gold)
        watch = _Watch(len(self._names()) * (1 + self.n_folds), on_sweep)
        first = self._fit_one(Calibrated.name, votes, known, watch, self.unseen)
        rest = [self._fit_one(name, votes, known, watch, 1.0) for name in self._names()[1:]]
        fits = [fit for fit in (first, *rest) if fit is not None]
        density, correlations = self._held_out(votes, known, watch)
        stacking = len(density) > 0 and len(fits) == len(self._names())
        weights = stacking_weights(density) if stacking else np.eye(len(fits))[0]
        predictor = stacked(fits, weights, self.unseen * correlations[: len(fits)])
        each = [
            clamped(predictor.read_part(number, fit.posterior, votes), known)
            for number, fit in enumerate(fits)
        ]
        posterior = np.tensordot(weights, np.stack(each), 1)
        home = sweeper(votes, known, device=self.device, n_threads=self.n_threads)
        used = [part for part, weight in zip(each, weights, strict=True) if weight > 0.01]
        confusion, accuracy = workers_against(home, votes, posterior, used)
        return conclude(
            self,
            votes,
            gold=known,
            posterior=posterior,
            prior=posterior.mean(axis=0),
            confusion=confusion,
            worker_accuracy=accuracy,
            history=watch.history(),
            predictor=predictor,
            started=started,
            findings=tuple(text for fit in fits for text in fit.warnings),
        )

    def _names(self) -> tuple[str, ...]:
        return (Calibrated.name, *(name for name in self.methods if name != Calibrated.name))

    def _make(self, name: str, unseen: float = 1.0) -> Any:
        """The method of this name, with the settings it shares with this one."""
        from crowdlearn.aggregators import AGGREGATORS, aggregator

        if name == self.name:
            raise SettingsError("methods must not hold 'auto' itself")
        has = {field.name for field in fields(AGGREGATORS[name])} if name in AGGREGATORS else set()
        own = {s: getattr(self, s) for s in ("n_resamples", "seed", "device", "n_threads")}
        shared = {s: value for s, value in (*own.items(), ("unseen", unseen)) if s in has}
        return aggregator(name, **shared)

    def _fit_one(
        self,
        name: str,
        votes: Votes,
        known: Int[np.ndarray, " item"],
        watch: _Watch,
        unseen: float,
    ) -> Aggregation | None:
        """The fit of one method; None once stopped."""
        if watch.stopped:
            return None
        fit = self._make(name, unseen).fit(votes, gold=known)
        watch.tell()
        return fit

    def _held_out(
        self, votes: Votes, known: Int[np.ndarray, " item"], watch: _Watch
    ) -> tuple[Float[np.ndarray, "vote method"], Float[np.ndarray, " method"]]:
        """Probability of every vote left out under each method at its best correlation."""
        n_methods = len(self._names())
        fold = np.random.default_rng([self.seed, 2]).integers(0, SHARE, votes.n_votes)
        parts = [np.zeros((0, n_methods, len(CORRELATIONS)))]
        for number in range(self.n_folds):
            rest = _without(votes, fold == number)
            if rest is None:
                continue
            tried = [self._fit_one(name, rest, known, watch, 1.0) for name in self._names()]
            fits = [fit for fit in tried if fit is not None]
            if len(fits) < n_methods:
                break
            parts.append(_predicted(votes, np.flatnonzero(fold == number), rest, fits, known))
        density = np.concatenate(parts)
        if len(density) == 0:
            return np.zeros((0, n_methods)), np.zeros(n_methods)
        best = np.log(np.maximum(density, TINY)).mean(axis=0).argmax(axis=1)
        best[0] = 0  # `calibrated` has discounted what it says already
        return density[:, np.arange(n_methods), best], CORRELATIONS[best].astype(np.float64)


@dataclass(eq=False)
class _Watch:
    """Counts the fits and hears whether to go on."""

    of: int
    on_sweep: OnSweep | None
    done: int = 0
    stopped: bool = False

    def tell(self) -> None:
        self.done += 1
        if self.on_sweep is not None and not self.stopped:
            at = Sweep(self.done, self.of, float("nan"), float("nan"))
            self.stopped = bool(self.on_sweep(at))

    def history(self) -> History:
        nothing = np.full(self.done, np.nan)
        return History(nothing, np.zeros(self.done), "none", not self.stopped, self.stopped)


def stacked(
    fits: Sequence[Aggregation],
    weights: Float[np.ndarray, " method"],
    correlations: Float[np.ndarray, " method"],
) -> StackedPredictor:
    """One reading made of several fits, the first being `calibrated`, which weighs the prior."""
    first = fits[0].predictor
    assert isinstance(first, TemperedPredictor)
    return StackedPredictor(
        parts=tuple(fit.predictor for fit in fits),
        prior=np.stack([fit.prior for fit in fits]),
        weight=weights,
        power=np.array([1.0, *np.repeat(first.power, len(fits) - 1)]),
        correlation=np.array([0.0, *np.minimum(correlations[1:], 1.0)]),
    )


def _without(votes: Votes, out: np.ndarray) -> Votes | None:
    """The votes where `out` (boolean) is false, items and workers as they are; None if none is."""
    if out.all():
        return None
    kept = ~out
    return Votes.from_codes(
        votes.item[kept],
        votes.worker[kept],
        votes.label[kept],
        items=votes.items,
        workers=votes.workers,
        classes=votes.classes,
    )


def _predicted(
    votes: Votes,
    out: Int[np.ndarray, " left_out"],
    rest: Votes,
    fits: Sequence[Aggregation],
    known: Int[np.ndarray, " item"],
) -> Float[np.ndarray, "left_out method correlation"]:
    """Probability of the votes at positions `out` under methods fitted to the rest."""
    home = sweeper(rest, known)
    item, worker, label = votes.item[out], votes.worker[out], votes.label[out]
    density = np.zeros((len(out), len(fits), len(CORRELATIONS)))
    equal = np.full(len(fits), 1 / len(fits))
    plain = [fit.posterior for fit in fits]
    for c, correlation in enumerate(CORRELATIONS):
        reading = stacked(fits, equal, np.full(len(fits), float(correlation)))
        for m, said in enumerate(plain):
            belief = clamped(reading.read_part(m, said, rest), known)
            table, _ = shrunken(
                counted(home, rest, belief), first_strength(votes.n_classes), SETTLED
            )
            density[:, m, c] = (belief[item] * table[worker, label]).sum(axis=1)
    return density
