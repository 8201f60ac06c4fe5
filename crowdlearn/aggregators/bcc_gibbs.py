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

from crowdlearn.aggregation import Aggregation, OnSweep, Outcome
from crowdlearn.aggregators.bcc import dirichlet_prior
from crowdlearn.aggregators.outcome import beta_interval, by_truth, conclude
from crowdlearn.aggregators.resuming import earlier_run, threads_for
from crowdlearn.aggregators.settings import check_settings
from crowdlearn.aggregators.worker_history import WorkerHistory, earlier_counts
from crowdlearn.errors import SettingsError
from crowdlearn.gold import gold_codes
from crowdlearn.inference.gibbs import Drawn, Streams, run_chains
from crowdlearn.inference.starts import Start, soft_majority
from crowdlearn.predictors import ProductPredictor
from crowdlearn.sweeps import Sums, sweeper
from crowdlearn.sweeps.tables import drawn as drawn_table
from crowdlearn.votes import Votes, VoteSet

Earlier = tuple[np.ndarray, np.ndarray]  # what a history adds to the counts: workers', classes'


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
        votes: VoteSet,
        *,
        gold: Any = None,
        on_sweep: OnSweep | None = None,
        resume: Aggregation | None = None,
        history: WorkerHistory | None = None,
    ) -> Outcome:
        """Posterior means, intervals and draws.

        `resume` takes an earlier result on the same votes, gold and settings and adds `n_draws`
        draws per chain to it, without warm-up. `history` adds to the priors of the workers. Raises
        SettingsError where the earlier result does not fit.
        """
        started = time.perf_counter()
        known = gold_codes(votes, gold)
        earlier = earlier_counts(history, votes)
        before = earlier_run(self, votes, known, resume)
        _check_history(before, earlier)
        share, each = threads_for(self)
        chains = [self.chain(votes, known, index, each, earlier) for index in range(self.n_chains)]
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
            tally=None if isinstance(votes, Votes) else chains[0].home.tally,
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
            sampler=run.sampler | _recorded(earlier),
            findings=run.problems,
        )

    def chain(
        self,
        votes: VoteSet,
        known: Any,
        index: int,
        n_threads: int = 1,
        earlier: Earlier | None = None,
    ) -> _Chain:
        """Chain number `index` at its start; `known` are gold codes, -1 where there is none."""
        home = sweeper(votes, known, device=self.device, n_threads=n_threads, cuts=False)
        rng = np.random.default_rng([self.seed, index])
        rows, classes = earlier or earlier_counts(None, votes)
        extra = dirichlet_prior(votes.n_classes, self.off_diagonal, self.diagonal) + rows
        sums = home.counts(home.first_truths(self.start, rng))
        return _Chain(home, extra, self.prior_count + classes, sums)


def _recorded(earlier: Earlier) -> dict[str, np.ndarray]:
    """The history as it is kept with a result, so that resuming can tell another one."""
    return {"history_rows": earlier[0], "history_classes": earlier[1]} if earlier[0].any() else {}


def _check_history(before: Any, earlier: Earlier) -> None:
    names = ("history_rows", "history_classes")
    now = _recorded(earlier)
    then = {n: before[0][n] for n in names if n in before[0]} if before else now
    if now.keys() != then.keys() or any(not np.array_equal(now[n], then[n]) for n in now):
        raise SettingsError("cannot resume: the history of the workers is another one; fit afresh")


@dataclass(eq=False)
class _Chain:
    home: Any
    extra: np.ndarray
    prior_count: np.ndarray
    sums: Sums

    def sweep(self, streams: Streams, tally: Any, keep: bool) -> Drawn:
        rng = streams(0)
        prior = rng.dirichlet(self.sums.totals + self.prior_count)
        table = drawn_table(self.sums.counts, self.extra, self.home.dtype, rng)
        uniform = self.home.uniform(streams(1))
        self.sums = self.home.draw(prior, table, uniform, tally, keep)
        return Drawn(prior, table, self.sums.bound)

    def state(self) -> dict[str, np.ndarray]:
        return {"chain_counts": self.sums.counts.copy(), "chain_totals": self.sums.totals}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        self.sums = Sums(state["chain_counts"].copy(), state["chain_totals"], bound=0.0)
