"""IDBLA and Fixed-IDBLA by blocked Gibbs sampling.

Story       That of `difficulty.py`.
Inference   Alternate prior, confusions, easiness and guess given truths and causes (conjugate
            draws) with an exact joint draw of each item's truth and of who saw it. Item posteriors
            average the truths' conditional probabilities. Chains start from truths drawn from the
            vote shares, every vote seen.
Paper       Hong (2017), arXiv 1706.03930; reconstructed, see `difficulty.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from crowdlearn.aggregation import Aggregation, OnSweep, Outcome
from crowdlearn.aggregators.bcc import dirichlet_prior
from crowdlearn.aggregators.difficulty import first_sums, with_guesses
from crowdlearn.aggregators.outcome import beta_interval, by_truth, conclude
from crowdlearn.aggregators.resuming import earlier_run, threads_for
from crowdlearn.aggregators.settings import check_settings
from crowdlearn.gold import gold_codes
from crowdlearn.inference.gibbs import Drawn, Streams, run_chains
from crowdlearn.inference.starts import Start, soft_majority
from crowdlearn.predictors import MixturePredictor
from crowdlearn.sweeps import Sums, sweeper
from crowdlearn.sweeps.tables import drawn as drawn_table
from crowdlearn.votes import Votes, VoteSet

GuessDraw = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class IdblaGibbs:
    """Settings of IDBLA by Gibbs sampling; priors mean what they mean in `Idbla`."""

    name: ClassVar[str] = "idbla-gibbs"
    random: ClassVar[bool] = True

    prior_count: float = 1.0
    off_diagonal: float = 1.0
    diagonal: float = 1.0
    easy: float = 9.0
    hard: float = 1.0
    guess_count: float = 1.0
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
    ) -> Outcome:
        """Posterior means, intervals and draws; `resume` as in `BccGibbs.fit`."""
        return fit_gibbs(self, votes, gold, on_sweep, resume)

    def chain(self, votes: VoteSet, known: Any, index: int, n_threads: int = 1) -> _Chain:
        """Chain number `index` at its start; `known` are gold codes, -1 where there is none."""

        def guess(guessed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            return rng.dirichlet(guessed + self.guess_count)

        return _first_chain(self, votes, known, guess, index, n_threads)


@dataclass(frozen=True, kw_only=True)
class FixedIdblaGibbs:
    """Settings of Fixed-IDBLA by Gibbs sampling: as `IdblaGibbs`, with a uniform guess."""

    name: ClassVar[str] = "fixed-idbla-gibbs"
    random: ClassVar[bool] = True

    prior_count: float = 1.0
    off_diagonal: float = 1.0
    diagonal: float = 1.0
    easy: float = 9.0
    hard: float = 1.0
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
    ) -> Outcome:
        """Posterior means, intervals and draws; `resume` as in `BccGibbs.fit`."""
        return fit_gibbs(self, votes, gold, on_sweep, resume)

    def chain(self, votes: VoteSet, known: Any, index: int, n_threads: int = 1) -> _Chain:
        """Chain number `index` at its start; `known` are gold codes, -1 where there is none."""

        def guess(guessed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            return np.full(len(guessed), 1 / len(guessed))

        return _first_chain(self, votes, known, guess, index, n_threads)


def fit_gibbs(
    method: Any,
    votes: VoteSet,
    gold: Any,
    on_sweep: OnSweep | None,
    resume: Aggregation | None,
) -> Outcome:
    """Run the chains of the difficulty story and add them up."""
    started = time.perf_counter()
    known = gold_codes(votes, gold)
    before = earlier_run(method, votes, known, resume)
    share, each = threads_for(method)
    chains = [method.chain(votes, known, i, each) for i in range(method.n_chains)]
    if before:
        for index, chain in enumerate(chains):
            chain.set_state({k: v[index] for k, v in before[0].items() if k[:6] == "chain_"})
    run = run_chains(
        chains,
        votes,
        seed=method.seed,
        n_warmup=method.n_warmup,
        n_draws=method.n_draws,
        n_threads=share,
        on_sweep=on_sweep,
        before=before,
        tally=None if isinstance(votes, Votes) else chains[0].home.tally,
    )
    kept = run.kept
    mean = kept.accuracy / kept.n
    prior = kept.prior / kept.n
    table = kept.table / kept.n
    easiness = kept.extras["easiness"] / kept.n
    guessed = kept.extras["guess"] / kept.n
    confusion, accuracy = with_guesses(
        by_truth(table, votes),
        beta_interval(mean, kept.accuracy_squared / kept.n - mean**2),
        prior,
        guessed,
        float(easiness.mean()),
    )
    shape = (votes.n_workers, votes.n_classes, votes.n_classes)
    return conclude(
        method,
        votes,
        gold=known,
        posterior=kept.tally / kept.n,
        prior=prior,
        confusion=confusion,
        worker_accuracy=accuracy,
        history=run.history,
        predictor=MixturePredictor(
            prior, table.reshape(shape), guessed, np.array([method.easy, method.hard], dtype=float)
        ),
        started=started,
        difficulty=1 - easiness,
        draws=run.draws,
        sampler=run.sampler,
        findings=run.problems,
    )


@dataclass(eq=False)
class _Chain:
    home: Any
    extra: np.ndarray
    method: Any
    guess: GuessDraw
    sums: Sums
    seen: Any  # of each item
    n_votes: Any  # of each item

    def sweep(self, streams: Streams, tally: Any, keep: bool) -> Drawn:
        rng = streams(0)
        prior = rng.dirichlet(self.sums.totals + self.method.prior_count)
        table = drawn_table(self.sums.counts, self.extra, self.home.dtype, rng)
        missed = self.n_votes - self.seen
        easiness = self.home.beta(rng, self.method.easy + self.seen, self.method.hard + missed)
        guess = self.guess(self.sums.guessed, rng)
        self.sums = self.home.mixture_draw(
            prior,
            table,
            guess,
            easiness,
            self.home.uniform(streams(1)),
            self.home.uniform(streams(2), "vote"),
            tally,
            keep,
            self.seen,
        )
        extras = {"easiness": easiness, "guess": guess}
        return Drawn(prior, table, self.sums.bound, extras)

    def state(self) -> dict[str, np.ndarray]:
        return {
            "chain_counts": self.sums.counts.copy(),
            "chain_totals": self.sums.totals,
            "chain_guessed": self.sums.guessed,
            "chain_seen": self.seen,
        }

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        self.sums = Sums(
            state["chain_counts"].copy(),
            state["chain_totals"],
            bound=0.0,
            guessed=state["chain_guessed"],
        )
        self.seen = state["chain_seen"].copy()


def _first_chain(
    method: Any, votes: VoteSet, known: Any, guess: GuessDraw, index: int, n_threads: int
) -> _Chain:
    home = sweeper(votes, known, device=method.device, n_threads=n_threads, cuts=False)
    rng = np.random.default_rng([method.seed, index])
    sums, seen = first_sums(home, home.first_truths(method.start, rng), easiness=1.0)
    extra = dirichlet_prior(votes.n_classes, method.off_diagonal, method.diagonal)
    return _Chain(home, extra, method, guess, sums, seen, home.votes_per_item)
