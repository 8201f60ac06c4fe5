"""Ordinal Dawid-Skene: classes have an order, and workers see them on a scale.

Story       prior ~ Dirichlet(prior_count, ...)
            middle ~ Normal((K - 1) / 2, middle_spread);  gap[c] ~ LogNormal(0, gap_spread)
            threshold[c], c = 0 .. K - 2: `gap` apart, their mean is `middle`
            bias[w] ~ Normal(0, bias_spread);  slope[w] ~ Normal(1, slope_spread)
            noise[w] ~ LogNormal(ln 1/2, noise_spread)
            truth[i] ~ Categorical(prior), at k = 0 .. K - 1 on the scale
            seen[v] ~ Normal(m + slope (k - m) + bias, noise^2), m = (K - 1) / 2, of worker[v]
            label[v] = the number of thresholds below seen[v]; with probability `lapse` any label
Inference   Variational for truths and prior, maximum a posteriori for the rest, in (middle, ln gap)
            and (bias, slope, ln noise): a few damped Fisher scoring steps a sweep, with exact
            gradients. The bound never falls. Intervals from the Fisher information (Laplace).
Paper       Johnson (1996), On Bayesian analysis of multirater ordinal data, JASA 91(433): shared
            thresholds, bias and noise of each rater. Lapses: Wichmann and Hill (2001), Perception
            and Psychophysics 63(8).
Departures  Truths are classes at fixed places, not real numbers; `slope` (a worker who reads the
            scale backwards has one below 0) and all spreads are ours.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from crowdlearn.aggregation import Aggregation, Interval, OnSweep
from crowdlearn.aggregators.outcome import beta_interval, by_truth, clamped, conclude
from crowdlearn.aggregators.settings import check_settings
from crowdlearn.class_order import warn_of_spelling_order
from crowdlearn.gold import gold_codes
from crowdlearn.inference.starts import Start, soft_majority
from crowdlearn.inference.sweeping import sweep_until_still
from crowdlearn.predictors import ProductPredictor
from crowdlearn.sweeps import Sums, expected_prior, scales, sweeper
from crowdlearn.sweeps.pool import Pool
from crowdlearn.votes import Votes

Scale = tuple[Float[np.ndarray, " knob"], Float[np.ndarray, "worker 3"]]
"""(middle, ln gaps), and (bias, slope, ln noise) of every worker."""


@dataclass(frozen=True, kw_only=True)
class Ordinal:
    """Settings of ordinal Dawid-Skene. Spreads are standard deviations; two classes are 1 apart."""

    name: ClassVar[str] = "ordinal"
    random: ClassVar[bool] = False
    ordered: ClassVar[bool] = True  # the order of the classes matters

    prior_count: float = 1.0
    middle_spread: float = 0.5
    gap_spread: float = 0.5
    bias_spread: float = 0.5
    slope_spread: float = 0.5
    noise_spread: float = 0.5
    lapse: float = 0.02
    start: Start = soft_majority
    max_sweeps: int = 1000
    tolerance: float = 1e-6
    seed: int = 0
    device: str = "auto"
    n_threads: int = 0

    def __post_init__(self) -> None:
        check_settings(self)

    def fit(
        self, votes: Votes, *, gold: Any = None, on_sweep: OnSweep | None = None
    ) -> Aggregation:
        """Workers' scales, and the item posteriors they imply; classes in the order of `votes`.

        Warns (VotesWarning) where that order is one of spelling, and so nobody's choice.
        """
        started = time.perf_counter()
        warn_of_spelling_order(votes.classes)
        known = gold_codes(votes, gold)
        home = sweeper(votes, known, device=self.device, n_threads=self.n_threads)
        rng = np.random.default_rng(self.seed)
        posterior = home.posterior(clamped(self.start(votes, rng), known))
        pool = Pool(self.n_threads)
        shape = (votes.n_workers, votes.n_classes, votes.n_classes)

        def step(state: tuple[Sums, Scale, Any, Any]) -> tuple[Any, float, float]:
            before, scale, _, _ = state
            prior, divergence = expected_prior(before.totals, self.prior_count)
            scale = self._improved(before.counts.reshape(shape), scale, pool)
            table = scales.table(*scale, self.lapse, pool).ravel()
            sums = home.product(prior, table.astype(home.dtype), posterior)
            bound = sums.bound - divergence + self._log_prior(scale)
            return (sums, scale, prior, table), bound, sums.change

        first: tuple[Sums, Scale, Any, Any] = (
            home.counts(posterior), self._typical(votes), None, None
        )  # fmt: skip
        (sums, scale, read_prior, table), history = sweep_until_still(
            step,
            first,
            max_sweeps=self.max_sweeps,
            tolerance=self.tolerance,
            bound_name="evidence lower bound",
            on_sweep=on_sweep,
        )
        prior = (sums.totals + self.prior_count) / (sums.totals + self.prior_count).sum()
        return conclude(
            self,
            votes,
            gold=known,
            posterior=home.read(posterior),
            prior=prior,
            confusion=by_truth(table, votes),
            worker_accuracy=self._accuracy(sums.counts.reshape(shape), scale, prior, pool),
            history=history,
            predictor=ProductPredictor(
                read_prior, table.reshape(shape), np.arange(votes.n_classes)
            ),
            started=started,
        )

    def _typical(self, votes: Votes) -> Scale:
        """The mode of the prior."""
        knobs = np.zeros(votes.n_classes - 1)
        knobs[0] = (votes.n_classes - 1) / 2
        return knobs, np.tile(scales.TYPICAL, (votes.n_workers, 1))

    @property
    def _spreads(self) -> Float[np.ndarray, " 3"]:
        return np.array([self.bias_spread, self.slope_spread, self.noise_spread])

    def _knob_prior(self, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
        """Means and precisions of (middle, ln gaps)."""
        mean, precision = np.zeros(n_classes - 1), np.full(n_classes - 1, self.gap_spread**-2.0)
        mean[0], precision[0] = (n_classes - 1) / 2, self.middle_spread**-2.0
        return mean, precision

    def _improved(
        self, counts: Float[np.ndarray, "worker label class"], scale: Scale, pool: Pool
    ) -> Scale:
        """Parameters that explain the expected counts better than these, the prior included."""
        knobs, workers = scale
        workers = scales.better_workers(counts, knobs, workers, self._spreads, self.lapse, pool)
        prior = self._knob_prior(counts.shape[1])
        return scales.better_knobs(counts, knobs, workers, prior, self.lapse, pool), workers

    def _log_prior(self, scale: Scale) -> float:
        """Log prior density of the parameters at their optimum's coordinates, up to a constant."""
        knobs, workers = scale
        mean, precision = self._knob_prior(len(knobs) + 1)
        off = (workers - scales.TYPICAL) / self._spreads
        return float(-0.5 * ((precision * (knobs - mean) ** 2).sum() + (off**2).sum()))

    def _accuracy(
        self,
        counts: Float[np.ndarray, "worker label class"],
        scale: Scale,
        prior: Float[np.ndarray, " class"],
        pool: Pool,
    ) -> Interval:
        mean, variance = scales.accuracy(counts, *scale, prior, self._spreads, self.lapse, pool)
        return beta_interval(mean, variance)
