"""IDBLA by fully factorised variational Bayes: class and causes of the votes independent.

Story       That of `difficulty.py`, with a learned guess distribution.
Inference   q(prior) q(confusion) q(easiness) q(guess) q(truth) q(seen): cheaper to write down than
            the structured form, a looser bound, and less prone to drift into everybody guessing.
Paper       Hong (2017), arXiv 1706.03930; reconstructed, see `difficulty.py`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from crowdlearn.aggregation import OnSweep, Outcome
from crowdlearn.aggregators.bcc import dirichlet_prior
from crowdlearn.aggregators.difficulty import GuessRule, first_sums, learned_guess, uniform_guess
from crowdlearn.aggregators.idbla import conclude_difficulty
from crowdlearn.aggregators.outcome import by_label
from crowdlearn.aggregators.settings import check_settings
from crowdlearn.gold import gold_codes
from crowdlearn.inference.starts import Start, soft_majority
from crowdlearn.inference.sweeping import sweep_until_still
from crowdlearn.predictors import FactorisedPredictor
from crowdlearn.sweeps import Sums, expected_prior, sweeper
from crowdlearn.sweeps.cuts import CutArray
from crowdlearn.votes import VoteSet


@dataclass(frozen=True, kw_only=True)
class IdblaFactorised:
    """Settings of factorised IDBLA; they mean what they mean in `Idbla`."""

    name: ClassVar[str] = "idbla-factorised"
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
        return fit_factorised(self, votes, gold, learned_guess(self.guess_count), on_sweep)


@dataclass(frozen=True, kw_only=True)
class FixedIdblaFactorised:
    """Settings of factorised Fixed-IDBLA: as `IdblaFactorised`, with a uniform guess."""

    name: ClassVar[str] = "fixed-idbla-factorised"
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
        return fit_factorised(self, votes, gold, uniform_guess, on_sweep)


def fit_factorised(
    method: Any, votes: VoteSet, gold: Any, guess_rule: GuessRule, on_sweep: OnSweep | None
) -> Outcome:
    """Coordinate ascent with truths and causes independent."""
    started = time.perf_counter()
    known = gold_codes(votes, gold)
    home = sweeper(votes, known, device=method.device, n_threads=method.n_threads)
    extra = dirichlet_prior(votes.n_classes, method.off_diagonal, method.diagonal)
    beta = (float(method.easy), float(method.hard))
    posterior = home.start(method.start, np.random.default_rng(method.seed))
    sums, seen = first_sums(home, posterior, beta[0] / sum(beta))
    own = home.per_vote(beta[0] / sum(beta))

    def step(state: tuple[Sums, Any, Any, Any]) -> tuple[tuple[Sums, Any, Any, Any], float, float]:
        prior, of_prior = expected_prior(state[0].totals, method.prior_count)
        table, of_table = home.expected(state[0].counts, extra, logs=True)
        guess, of_guess = guess_rule(state[0].guessed)
        sees, misses, of_easiness = home.beta_expectations(seen, beta, logs=True)
        sums = home.factorised(
            np.log(prior), table, np.log(guess), sees, misses, own, posterior, seen
        )
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
    cube = by_label(table, votes)
    table = cube.mapped(np.exp) if isinstance(cube, CutArray) else np.exp(cube)
    return conclude_difficulty(
        method, votes, known, home, sums, seen, home.read(posterior), history, started,
        FactorisedPredictor(prior, table, guess, np.array(beta)),
    )  # fmt: skip
