"""EBCC, enhanced BCC: classes have subtypes, so that workers who err alike are not counted twice.

Story       prior ~ Dirichlet(vote shares summed over items)
            share[k] ~ Dirichlet(subtype_count / n_subtypes, ...)          of class k's subtypes
            confusion[w, k, g] ~ Dirichlet(off_diagonal, ..., diagonal at k, ...)
            truth[i] ~ Categorical(prior);  subtype[i] ~ Categorical(share[truth[i]])
            label[v] ~ Categorical(confusion[worker[v], truth[item[v]], subtype[item[v]]])
Inference   Mean field with (truth, subtype) kept joint; coordinate ascent from random splits of the
            vote shares; of `n_restarts` the one with the best evidence lower bound.
Paper       Li, Rubinstein and Cohn (2019), Exploiting worker correlation for label aggregation in
            crowdsourcing, ICML, with the settings of the authors' released code.
Departures  10 restarts by default (`n_restarts`), where the authors' experiments take 40.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from crowdlearn.aggregation import History, OnSweep, Outcome, Sweep
from crowdlearn.aggregators.bcc import dirichlet_prior
from crowdlearn.aggregators.outcome import accuracy_of, by_label, by_truth, conclude
from crowdlearn.aggregators.settings import check_settings
from crowdlearn.gold import gold_codes
from crowdlearn.inference.starts import Start, soft_majority
from crowdlearn.inference.sweeping import sweep_until_still
from crowdlearn.predictors import ProductPredictor
from crowdlearn.sweeps import Sums, expected_prior, sweeper
from crowdlearn.votes import VoteSet


@dataclass(frozen=True, kw_only=True)
class Ebcc:
    """Settings of EBCC; the restarts draw, so its results depend on `seed`."""

    name: ClassVar[str] = "ebcc"
    random: ClassVar[bool] = True

    n_subtypes: int = 10
    subtype_count: float = 0.1
    off_diagonal: float = 1.0
    diagonal: float = 4.0
    n_restarts: int = 10
    start: Start = soft_majority
    max_sweeps: int = 500
    tolerance: float = 1e-3
    seed: int = 0
    device: str = "auto"
    n_threads: int = 0

    def __post_init__(self) -> None:
        check_settings(self)

    def fit(self, votes: VoteSet, *, gold: Any = None, on_sweep: OnSweep | None = None) -> Outcome:
        """Variational posteriors of prior, subtypes, confusions and truths."""
        started = time.perf_counter()
        known = gold_codes(votes, gold)
        n_classes = votes.n_classes
        state_class = np.repeat(np.arange(n_classes), self.n_subtypes)
        home = sweeper(
            votes, known, state_class=state_class, device=self.device, n_threads=self.n_threads
        )
        extra = dirichlet_prior(n_classes, self.off_diagonal, self.diagonal)[:, state_class]
        class_count = np.maximum(home.share_totals(), 1e-9)
        best: _Fit | None = None
        for restart in range(self.n_restarts):
            rng = np.random.default_rng([self.seed, restart])
            posterior = home.start(self.start, rng, self.n_subtypes)
            fit = self._ascend(
                home, extra, class_count, posterior, _within(on_sweep, self, restart)
            )
            if best is None or fit.history.bound[-1] > best.history.bound[-1]:
                best = fit
            if fit.history.stopped:
                break
        assert best is not None
        return self._result(votes, known, home, extra, class_count, best, started)

    def _ascend(
        self, home: Any, extra: np.ndarray, class_count: np.ndarray, posterior: Any, on_sweep: Any
    ) -> _Fit:
        def step(state: tuple[Sums, Any, Any]) -> tuple[tuple[Sums, Any, Any], float, float]:
            prior, prior_divergence = state_prior(state[0].totals, class_count, self.subtype_count)
            table, divergence = home.expected(state[0].counts, extra)
            sums = home.product(prior, table, posterior)
            return (sums, prior, table), sums.bound - prior_divergence - divergence, sums.change

        first_state: tuple[Sums, Any, Any] = (home.counts(posterior), None, None)
        (sums, prior, table), history = sweep_until_still(
            step,
            first_state,
            max_sweeps=self.max_sweeps,
            tolerance=self.tolerance,
            bound_name="evidence lower bound",
            on_sweep=on_sweep,
        )
        return _Fit(home.read(posterior), sums.counts.copy(), sums.totals, prior, table, history)

    def _result(
        self,
        votes: VoteSet,
        known: Any,
        home: Any,
        extra: np.ndarray,
        class_count: np.ndarray,
        best: _Fit,
        started: float,
    ) -> Outcome:
        n_classes, n_subtypes = votes.n_classes, self.n_subtypes
        totals = best.totals.reshape(n_classes, n_subtypes)
        share = totals + self.subtype_count / n_subtypes
        share /= share.sum(axis=1, keepdims=True)
        prior = (totals.sum(axis=1) + class_count) / (totals.sum() + class_count.sum())
        table = home.normalised(best.counts, extra)[0]
        return conclude(
            self,
            votes,
            gold=known,
            posterior=home.by_class(best.posterior),
            prior=prior,
            confusion=by_truth(table, votes, share),
            worker_accuracy=accuracy_of(
                best.counts,
                dirichlet_prior(n_classes, self.off_diagonal, self.diagonal),
                prior,
                votes.n_workers,
            ),
            history=best.history,
            predictor=ProductPredictor(best.prior, by_label(best.table, votes), home.state_class),
            started=started,
        )


@dataclass(frozen=True, eq=False)
class _Fit:
    """Where one restart ended."""

    posterior: Any  # (item, state)
    counts: Any  # flat (worker, label, state), or cut by workers
    totals: Float[np.ndarray, " state"]
    prior: Float[np.ndarray, " state"]
    table: Any  # as the counts
    history: History


def state_prior(
    totals: Float[np.ndarray, " state"],
    class_count: Float[np.ndarray, " class"],
    subtype_count: float,
) -> tuple[Float[np.ndarray, " state"], float]:
    """exp (E ln prior + E ln share) of every subtype, and the divergence of both."""
    by_class = totals.reshape(len(class_count), -1)
    prior, divergence = expected_prior(by_class.sum(axis=1), class_count)
    shares = []
    for subtypes in by_class:
        share, further = expected_prior(subtypes, subtype_count / len(subtypes))
        shares.append(share)
        divergence += further
    return (prior[:, None] * np.array(shares)).ravel(), divergence


def _within(on_sweep: OnSweep | None, method: Ebcc, restart: int) -> OnSweep | None:
    """`on_sweep` told of sweeps over all restarts."""
    if on_sweep is None:
        return None
    before, of = restart * method.max_sweeps, method.n_restarts * method.max_sweeps
    return lambda sweep: on_sweep(Sweep(before + sweep.number, of, sweep.change, sweep.bound))
