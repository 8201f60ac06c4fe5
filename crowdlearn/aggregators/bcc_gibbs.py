"""BCC by blocked Gibbs sampling: the posterior itself, with its uncertainty.

Story       That of `bcc.py`.
Inference   Alternate prior and confusions given the truths (Dirichlet draws) with all truths given
            these (one pass over the votes). Item posteriors average the truths' conditional
            probabilities rather than the draws. Chains start from truths drawn from the vote
            shares.
Paper       Kim and Ghahramani (2012), Bayesian classifier combination, AISTATS, section 3.
Departures  Fixed Dirichlet parameters, where the paper puts exponential hyperpriors on them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from crowdlearn.aggregation import Aggregation, OnSweep
from crowdlearn.aggregators.bcc import dirichlet_prior
from crowdlearn.aggregators.outcome import beta_interval, by_truth, clamped, conclude
from crowdlearn.aggregators.resuming import earlier_run, threads_for
from crowdlearn.aggregators.settings import check_settings
from crowdlearn.gold import gold_codes
from crowdlearn.inference.gibbs import Drawn, Streams, first_truths, run_chains
from crowdlearn.inference.starts import Start, soft_majority
from crowdlearn.predictors import ProductPredictor
from crowdlearn.sweeps import Sums, sweeper
from crowdlearn.sweeps.tables import drawn as drawn_table
from crowdlearn.votes import Votes


@dataclass(frozen=True, kw_only=True)
class BccGibbs:
    """Settings of BCC by Gibbs sampling."""

    name: ClassVar[str] = "bcc-gibbs"
    random: ClassVar[bool] = True

    prior_count: float = 1.0
    off_diagonal: float = 1.0
    diagonal: float = 2.0
    start: Start = soft_majority
    n_chains: int = 4
    n_warmup: int = 200
    n_draws: int = 1000
    seed: int = 0
    device: str = "auto"
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
        draws per chain to it, without warm-up. Raises SettingsError where it does not fit.
        """
        started = time.perf_counter()
        known = gold_codes(votes, gold)
        before = earlier_run(self, votes, known, resume)
        share, each = threads_for(self)
        chains = [self._chain(votes, known, index, each) for index in range(self.n_chains)]
        if before:
            for index, chain in enumerate(chains):
                chain.set_state({k: v[index] for k, v in before[0].items() if k[:6] == "chain_"})
        run = run_chains(
            chains,
            votes,
            seed=self.seed,
            n_warmup=self.n_warmup,
            n_draws=self.n_draws,
            n_threads=share,
            on_sweep=on_sweep,
            before=before,
        )
        kept = run.kept
        mean = kept.accuracy / kept.n
        shape = (votes.n_workers, votes.n_classes, votes.n_classes)
        return conclude(
            self,
            votes,
            gold=known,
            posterior=kept.tally / kept.n,
            prior=kept.prior / kept.n,
            confusion=by_truth(kept.table / kept.n, votes),
            worker_accuracy=beta_interval(mean, kept.accuracy_squared / kept.n - mean**2),
            history=run.history,
            predictor=ProductPredictor(
                kept.prior / kept.n,
                (kept.table / kept.n).reshape(shape),
                np.arange(votes.n_classes),
            ),
            started=started,
            draws=run.draws,
            sampler=run.sampler,
            findings=run.problems,
        )

    def _chain(self, votes: Votes, known: np.ndarray, index: int, n_threads: int) -> _Chain:
        home = sweeper(votes, known, device=self.device, n_threads=n_threads)
        rng = np.random.default_rng([self.seed, index])
        posterior = clamped(self.start(votes, rng), known)
        extra = dirichlet_prior(votes.n_classes, self.off_diagonal, self.diagonal)
        sums = home.counts(home.posterior(first_truths(posterior, rng)))
        return _Chain(home, extra, self.prior_count, sums)


@dataclass(eq=False)
class _Chain:
    home: Any
    extra: np.ndarray
    prior_count: float
    sums: Sums

    def sweep(self, streams: Streams, tally: np.ndarray, keep: bool) -> Drawn:
        rng = streams(0)
        prior = rng.dirichlet(self.sums.totals + self.prior_count)
        table = drawn_table(self.sums.counts, self.extra, self.home.dtype, rng)
        uniform = streams(1).random(self.home.votes.n_items)
        self.sums = self.home.draw(prior, table, uniform, tally, keep)
        return Drawn(prior, table, self.sums.bound)

    def state(self) -> dict[str, np.ndarray]:
        return {"chain_counts": self.sums.counts.copy(), "chain_totals": self.sums.totals}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        self.sums = Sums(state["chain_counts"].copy(), state["chain_totals"], bound=0.0)
