"""BCC by variational Bayes: Dawid-Skene with a prior on everything.

Story       prior ~ Dirichlet(prior_count, ...)
            confusion[w, k] ~ Dirichlet(off_diagonal, ..., diagonal at k, ...)
            truth[i] ~ Categorical(prior)
            label[v] ~ Categorical(confusion[worker[v], truth[item[v]]])
Inference   Mean field q(prior) q(confusion) q(truth), coordinate ascent; the evidence lower bound
            never falls.
Paper       Kim and Ghahramani (2012), Bayesian classifier combination, AISTATS (independent BCC);
            variational form as in Simpson et al. (2013).
Departures  Fixed Dirichlet parameters, where the paper puts exponential hyperpriors on them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from crowdlearn.aggregation import OnSweep, Outcome
from crowdlearn.aggregators.outcome import accuracy_of, by_label, by_truth, conclude
from crowdlearn.aggregators.settings import check_settings
from crowdlearn.aggregators.worker_history import WorkerHistory, earlier_counts
from crowdlearn.gold import gold_codes
from crowdlearn.inference.starts import Start, soft_majority
from crowdlearn.inference.sweeping import sweep_until_still
from crowdlearn.predictors import ProductPredictor
from crowdlearn.sweeps import Sums, expected_prior, sweeper
from crowdlearn.votes import VoteSet


@dataclass(frozen=True, kw_only=True)
class Bcc:
    """Settings of BCC by variational Bayes; a worker starts out twice as likely right as wrong."""

    name: ClassVar[str] = "bcc"
    random: ClassVar[bool] = False

    prior_count: float = 1.0
    off_diagonal: float = 1.0
    diagonal: float = 2.0
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
        """Variational posteriors of prior, confusions and truths.

        `history` adds its counts to the priors.
        """
        started = time.perf_counter()
        known = gold_codes(votes, gold)
        home = sweeper(votes, known, device=self.device, n_threads=self.n_threads)
        earlier, earlier_classes = earlier_counts(history, votes)
        extra = dirichlet_prior(votes.n_classes, self.off_diagonal, self.diagonal) + earlier
        prior_count = self.prior_count + earlier_classes
        rng = np.random.default_rng(self.seed)
        posterior = home.start(self.start, rng)

        def step(state: tuple[Sums, Any, Any]) -> tuple[tuple[Sums, Any, Any], float, float]:
            prior, prior_divergence = expected_prior(state[0].totals, prior_count)
            table, divergence = home.expected(state[0].counts, extra)
            sums = home.product(prior, table, posterior)
            return (sums, prior, table), sums.bound - prior_divergence - divergence, sums.change

        first_state: tuple[Sums, Any, Any] = (home.counts(posterior), None, None)
        (sums, read_prior, table), course = sweep_until_still(
            step,
            first_state,
            max_sweeps=self.max_sweeps,
            tolerance=self.tolerance,
            bound_name="evidence lower bound",
            on_sweep=on_sweep,
        )
        prior = (sums.totals + prior_count) / (sums.totals + prior_count).sum()
        return conclude(
            self,
            votes,
            gold=known,
            posterior=home.read(posterior),
            prior=prior,
            confusion=by_truth(home.normalised(sums.counts, extra)[0], votes),
            worker_accuracy=accuracy_of(sums.counts, extra, prior, votes.n_workers),
            history=course,
            predictor=ProductPredictor(
                read_prior, by_label(table, votes), np.arange(votes.n_classes)
            ),
            started=started,
        )


def dirichlet_prior(
    n_classes: int, off_diagonal: float, diagonal: float
) -> Float[np.ndarray, "label class"]:
    """Dirichlet parameters of every worker's rows."""
    return off_diagonal + (diagonal - off_diagonal) * np.eye(n_classes)
