"""IDBLA and Fixed-IDBLA by structured variational Bayes: a vote on a hard item may be a guess.

Story       That of `difficulty.py`: the item's easiness decides whether a vote follows the worker's
            confusion or a guess distribution, learned (IDBLA) or uniform (Fixed-IDBLA).
Inference   q(prior) q(confusion) q(easiness) q(guess) q(truth, seen): an item's class and who saw
            it stay joint. Coordinate ascent; the evidence lower bound never falls.
Paper       Hong (2017), arXiv 1706.03930; reconstructed, see `difficulty.py`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from crowdlearn.aggregation import OnSweep, Outcome
from crowdlearn.aggregators.bcc import dirichlet_prior
from crowdlearn.aggregators.difficulty import (
    GuessRule,
    first_sums,
    learned_guess,
    mean_easiness,
    uniform_guess,
    with_guesses,
)
from crowdlearn.aggregators.outcome import accuracy_of, by_label, by_truth, conclude
from crowdlearn.aggregators.settings import check_settings
from crowdlearn.gold import gold_codes
from crowdlearn.inference.starts import Start, soft_majority
from crowdlearn.inference.sweeping import sweep_until_still
from crowdlearn.predictors import FactorisedPredictor, MixturePredictor
from crowdlearn.sweeps import Sums, expected_prior, sweeper
from crowdlearn.votes import VoteSet


@dataclass(frozen=True, kw_only=True)
class Idbla:
    """Settings of IDBLA; keep easy / (easy + hard) at 0.9 or more, or guesses swallow a class."""

    name: ClassVar[str] = "idbla"
    random: ClassVar[bool] = False

    prior_count: float = 1.0
    off_diagonal: float = 1.0
    diagonal: float = 1.0
    easy: float = 9.0
    hard: float = 1.0
    guess_count: float = 1.0
    start: Start = soft_majority
    max_sweeps: int = 500
    tolerance: float = 1e-4
    seed: int = 0
    device: str = "auto"
    n_threads: int = 0

    def __post_init__(self) -> None:
        check_settings(self)

    def fit(self, votes: VoteSet, *, gold: Any = None, on_sweep: OnSweep | None = None) -> Outcome:
        """Variational posteriors of prior, confusions, easiness, guess and truths."""
        return fit_structured(self, votes, gold, learned_guess(self.guess_count), on_sweep)


@dataclass(frozen=True, kw_only=True)
class FixedIdbla:
    """Settings of Fixed-IDBLA: as `Idbla`, with a uniform guess distribution."""

    name: ClassVar[str] = "fixed-idbla"
    random: ClassVar[bool] = False

    prior_count: float = 1.0
    off_diagonal: float = 1.0
    diagonal: float = 1.0
    easy: float = 9.0
    hard: float = 1.0
    start: Start = soft_majority
    max_sweeps: int = 500
    tolerance: float = 1e-4
    seed: int = 0
    device: str = "auto"
    n_threads: int = 0

    def __post_init__(self) -> None:
        check_settings(self)

    def fit(self, votes: VoteSet, *, gold: Any = None, on_sweep: OnSweep | None = None) -> Outcome:
        """Variational posteriors of prior, confusions, easiness and truths."""
        return fit_structured(self, votes, gold, uniform_guess, on_sweep)


def fit_structured(
    method: Any, votes: VoteSet, gold: Any, guess_rule: GuessRule, on_sweep: OnSweep | None
) -> Outcome:
    """Coordinate ascent with (truth, seen) joint for every item."""
    started = time.perf_counter()
    known = gold_codes(votes, gold)
    home = sweeper(votes, known, device=method.device, n_threads=method.n_threads)
    extra = dirichlet_prior(votes.n_classes, method.off_diagonal, method.diagonal)
    beta = (float(method.easy), float(method.hard))
    posterior = home.start(method.start, np.random.default_rng(method.seed))
    sums, seen = first_sums(home, posterior, beta[0] / sum(beta))

    def step(state: tuple[Sums, Any, Any, Any]) -> tuple[tuple[Sums, Any, Any, Any], float, float]:
        prior, of_prior = expected_prior(state[0].totals, method.prior_count)
        table, of_table = home.expected(state[0].counts, extra)
        guess, of_guess = guess_rule(state[0].guessed)
        sees, misses, of_easiness = home.beta_expectations(seen, beta)
        sums = home.mixture(prior, table, guess, sees, misses, posterior, seen)
        bound = sums.bound - of_prior - of_table - of_guess - of_easiness
        return (sums, prior, table, guess), bound, sums.change

    first_state: tuple[Sums, Any, Any, Any] = (sums, None, None, None)
    (sums, prior, table, guess), history = sweep_until_still(
        step,
        first_state,
        max_sweeps=method.max_sweeps,
        tolerance=method.tolerance,
        bound_name="evidence lower bound",
        on_sweep=on_sweep,
    )
    return conclude_difficulty(
        method, votes, known, home, sums, seen, home.read(posterior), history, started,
        MixturePredictor(prior, by_label(table, votes), guess, np.array(beta)),
    )  # fmt: skip


def conclude_difficulty(
    method: Any,
    votes: VoteSet,
    known: Any,
    home: Any,
    sums: Sums,
    seen: Any,
    posterior: Any,
    history: Any,
    started: float,
    predictor: MixturePredictor | FactorisedPredictor,
) -> Outcome:
    """The result of a variational fit of the difficulty story."""
    extra = dirichlet_prior(votes.n_classes, method.off_diagonal, method.diagonal)
    prior = (sums.totals + method.prior_count) / (sums.totals + method.prior_count).sum()
    easiness = mean_easiness(seen, home, (method.easy, method.hard))
    confusion, accuracy = with_guesses(
        by_truth(home.normalised(sums.counts, extra)[0], votes),
        accuracy_of(sums.counts, extra, prior, votes.n_workers),
        prior,
        predictor.guess / predictor.guess.sum(),
        float(easiness.mean()),
    )
    return conclude(
        method,
        votes,
        gold=known,
        posterior=posterior,
        prior=prior,
        confusion=confusion,
        worker_accuracy=accuracy,
        history=history,
        predictor=predictor,
        started=started,
        difficulty=1 - easiness,
    )
