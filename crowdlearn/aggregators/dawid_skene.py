"""Dawid-Skene: every worker has a confusion matrix.

Story       truth[i] ~ Categorical(prior)
            label[v] ~ Categorical(confusion[worker[v], truth[item[v]]])
Inference   EM from the vote shares; the log likelihood (with the pseudocount's term) never falls.
Paper       Dawid and Skene (1979), Applied Statistics 28(1), eqs. 2.3-2.5.
Departures  `pseudocount` is added to every cell of a confusion before its rows are normalised (MAP
            under a Dirichlet(1 + pseudocount) prior); the paper adds nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from scipy.special import xlogy

from crowdlearn.aggregation import OnSweep, Outcome
from crowdlearn.aggregators.outcome import accuracy_of, by_label, by_truth, conclude
from crowdlearn.aggregators.settings import check_settings
from crowdlearn.aggregators.worker_history import WorkerHistory, earlier_counts
from crowdlearn.gold import gold_codes
from crowdlearn.inference.starts import Start, soft_majority
from crowdlearn.inference.sweeping import sweep_until_still
from crowdlearn.predictors import ProductPredictor
from crowdlearn.sweeps import Sums, sweeper
from crowdlearn.votes import VoteSet


@dataclass(frozen=True, kw_only=True)
class DawidSkene:
    """Settings of Dawid-Skene by EM."""

    name: ClassVar[str] = "dawid-skene"
    random: ClassVar[bool] = False

    pseudocount: float = 0.01
    start: Start = soft_majority
    max_sweeps: int = 1000
    tolerance: float = 1e-6
    seed: int = 0
    device: str = "auto"
    n_threads: int = 0

    def __post_init__(self) -> None:
        check_settings(self)

    def fit(
        self,
        votes: VoteSet,
        *,
        gold: Any = None,
        on_sweep: OnSweep | None = None,
        history: WorkerHistory | None = None,
    ) -> Outcome:
        """Maximum a posteriori prior and confusions, and the item posteriors they imply.

        The counts of a `history` are pseudocounts.
        """
        started = time.perf_counter()
        known = gold_codes(votes, gold)
        home = sweeper(votes, known, device=self.device, n_threads=self.n_threads)
        earlier, earlier_classes = earlier_counts(history, votes)
        extra = float(self.pseudocount) + earlier
        rng = np.random.default_rng(self.seed)
        posterior = home.start(self.start, rng)

        def step(state: tuple[Sums, Any, Any]) -> tuple[tuple[Sums, Any, Any], float, float]:
            prior = m_step_prior(state[0], earlier_classes)
            table, log_extra = home.normalised(state[0].counts, extra)
            log_extra += float(xlogy(earlier_classes, prior).sum())
            sums = home.product(prior, table, posterior)
            return (sums, prior, table), sums.bound + log_extra, sums.change

        first_state: tuple[Sums, Any, Any] = (home.counts(posterior), None, None)
        (sums, prior, table), course = sweep_until_still(
            step,
            first_state,
            max_sweeps=self.max_sweeps,
            tolerance=self.tolerance,
            bound_name="log likelihood",
            on_sweep=on_sweep,
        )
        return conclude(
            self,
            votes,
            gold=known,
            posterior=home.read(posterior),
            prior=prior,
            confusion=by_truth(table, votes),
            worker_accuracy=accuracy_of(
                sums.counts, extra + 1 / votes.n_classes, prior, votes.n_workers
            ),
            history=course,
            predictor=ProductPredictor(prior, by_label(table, votes), np.arange(votes.n_classes)),
            started=started,
        )


def m_step_prior(
    sums: Sums, earlier: float | Float[np.ndarray, " class"] = 0.0
) -> Float[np.ndarray, " class"]:
    """Class prior: the mean of the item posteriors (eq. 2.4), `earlier` items counted in."""
    totals = sums.totals + earlier
    return totals / totals.sum()
