"""Max-margin voting: confusions and a weighted vote that should win by a margin (Gibbs-CrowdSVM).

Story       confusion[w, k] ~ Dirichlet(confusion_count, ...)
            weight[w] ~ Normal(0, weight_variance)
            label[v] ~ Categorical(confusion[worker[v], truth[item[v]]]), all truths equally likely.
            Besides, the weighted vote score[i, k] = sum of weight over the votes for k should put
            the truth ahead of every other class by `margin`: each item multiplies the density by
            exp(-2 c max(0, margin - (score[i, truth] - best other score))). No story makes such
            data; it is a posterior held to a loss.
Inference   Gibbs: confusions; then a scale for every item that makes the loss Gaussian in the
            weights; then all weights (a system of workers x workers with the noise put on its
            right side); then the truths. Posteriors average the truths' conditional probabilities.
Paper       Tian and Zhu (2015), Max-margin majority voting for learning from crowds, NIPS; the
            augmentation is that of Polson and Scott (2011), Bayesian Analysis 6(1).
Departures  With more than two classes an item's best rival is the one under the present weights,
            as in the paper, which makes the sampler's target approximate; with two it is exact.
            `strength` (their c) 0 lets the likelihood choose among 2^-8, 2^-7, ..., 1, as the paper
            does: a short chain each, and the votes' log likelihood under its mean confusions, the
            truths summed out as equally likely. Several chains.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np

from crowdlearn.aggregation import Aggregation, OnSweep, Sweep
from crowdlearn.aggregators.margin_chain import Force, MarginChain
from crowdlearn.aggregators.outcome import beta_interval, by_truth, clamped, conclude
from crowdlearn.aggregators.resuming import earlier_run, threads_for
from crowdlearn.aggregators.settings import check_settings
from crowdlearn.gold import gold_codes
from crowdlearn.inference.gibbs import Run, first_truths, run_chains
from crowdlearn.inference.starts import Start, hard_majority
from crowdlearn.predictors import MarginPredictor
from crowdlearn.sweeps import sweeper
from crowdlearn.votes import Votes

STRENGTHS = tuple(2.0**power for power in range(-8, 1))


@dataclass(frozen=True, kw_only=True)
class MaxMargin:
    """Settings of max-margin voting; `strength` 0 lets the likelihood choose it."""

    name: ClassVar[str] = "max-margin"
    random: ClassVar[bool] = True

    strength: float = 0.0
    margin: float = 3.0
    weight_variance: float = 1.0
    confusion_count: float = 1.0
    start: Start = hard_majority
    n_chains: int = 4
    n_warmup: int = 20
    n_draws: int = 30
    seed: int = 0
    n_threads: int = 0

    def __post_init__(self) -> None:
        check_settings(self)

    def fit(
        self,
        votes: Votes,
        *,
        gold: Any = None,
        on_sweep: OnSweep | None = None,
        resume: Aggregation | None = None,
    ) -> Aggregation:
        """Posterior means, intervals and draws.

        `resume` takes an earlier result on the same votes, gold and settings and adds `n_draws`
        draws per chain to it, with its strength. Raises SettingsError where it does not fit.
        """
        started = time.perf_counter()
        known = gold_codes(votes, gold)
        before = earlier_run(self, votes, known, resume)
        share, each = threads_for(self)
        stage = _Stage(on_sweep, self)
        chain = partial(self._chain, votes, known, each)
        strength = float(before[0]["strength"]) if before else self.strength
        if strength == 0:
            strength = choose_strength(self, chain, stage)
        chains = [chain(strength, index) for index in range(self.n_chains)]
        if before:
            for index, one in enumerate(chains):
                one.truth, one.weight = (before[0][f"chain_{n}"][index] for n in MarginChain.STATE)
        run = run_chains(
            chains,
            votes,
            seed=self.seed,
            n_warmup=self.n_warmup,
            n_draws=self.n_draws,
            n_threads=share,
            on_sweep=stage.hear if on_sweep else None,
            before=before,
        )
        return self._result(votes, known, run, strength, started)

    def _chain(
        self, votes: Votes, known: np.ndarray, n_threads: int, strength: float, index: int
    ) -> MarginChain:
        rng = np.random.default_rng([self.seed, index])
        first = first_truths(clamped(self.start(votes, rng), known), rng).argmax(axis=1)
        home = sweeper(votes, known, n_threads=n_threads)
        force = Force(strength, self.margin, self.weight_variance)
        ones = np.ones(votes.n_workers)
        return MarginChain(home, force, self.confusion_count, known, votes.item, first, ones)

    def _result(
        self, votes: Votes, known: np.ndarray, run: Run, strength: float, started: float
    ) -> Aggregation:
        kept = run.kept
        mean = kept.accuracy / kept.n
        table = kept.table / kept.n
        return conclude(
            self,
            votes,
            gold=known,
            posterior=kept.tally / kept.n,
            prior=kept.prior / kept.n,
            confusion=by_truth(table, votes),
            worker_accuracy=beta_interval(mean, kept.accuracy_squared / kept.n - mean**2),
            history=run.history,
            predictor=MarginPredictor(
                table.reshape(votes.n_workers, votes.n_classes, votes.n_classes),
                kept.extras["weight"] / kept.n,
                np.array([strength]),
                np.array([self.margin]),
            ),
            started=started,
            draws=run.draws,
            sampler=run.sampler | {"strength": np.array(strength)},
            findings=run.problems,
        )


def choose_strength(method: MaxMargin, chain: Callable[..., MarginChain], stage: _Stage) -> float:
    """The strength under whose mean confusions the votes are likeliest; 1 short chain each."""
    best, chosen = -math.inf, STRENGTHS[0]
    for strength in STRENGTHS:
        one = chain(strength, method.n_chains)
        n_sweeps = method.n_warmup + method.n_draws
        total = np.zeros(0)
        for number in range(n_sweeps):
            seeds = [method.seed, method.n_chains, number]
            drawn = one.sweep(partial(_stream, seeds), np.zeros(0), False)
            if number >= method.n_warmup:
                total = drawn.table + (total if len(total) else 0)
            if stage.passed(drawn.log_density):
                return strength
        likelihood = one.log_likelihood(total / method.n_draws)
        if likelihood > best:
            best, chosen = likelihood, strength
    return chosen


def _stream(seeds: list[int], purpose: int) -> np.random.Generator:
    return np.random.default_rng([*seeds, purpose])


@dataclass(eq=False)
class _Stage:
    """Counts the sweeps of the choice and of the chains as one run, for `on_sweep`."""

    on_sweep: OnSweep | None
    method: MaxMargin
    n_before: int = 0
    stopped: bool = False

    @property
    def of(self) -> int:
        scans = len(STRENGTHS) if self.method.strength == 0 else 0
        return (self.method.n_warmup + self.method.n_draws) * (1 + scans)

    def passed(self, log_density: float) -> bool:
        """Tell of a sweep of the choice; whether to stop."""
        self.n_before += 1
        if self.on_sweep is not None:
            sweep = Sweep(self.n_before, self.of, math.nan, log_density)
            self.stopped = bool(self.on_sweep(sweep))
        return self.stopped

    def hear(self, sweep: Sweep) -> bool:
        """Tell of a sweep of the chains; stop at once if the choice was stopped."""
        if self.stopped or self.on_sweep is None:
            return self.stopped
        number = self.n_before + sweep.number
        return bool(self.on_sweep(replace(sweep, number=number, of=self.of)))
