"""One-coin Dawid-Skene: every worker has one ability, and errors fall anywhere alike.

Story       truth[i] ~ Categorical(prior)
            label[v] = truth[item[v]] with probability ability[worker[v]],
                       else another class, uniformly
Inference   EM from the vote shares; the log likelihood (with the pseudocount's term) never falls.
Paper       Zhang, Chen, Zhou and Jordan (2014), Spectral methods meet EM, NIPS, section 5; without
            the learned prior it is the EM of ZenCrowd (Demartini et al. 2012).
Departures  `pseudocount` is added to a worker's right and wrong votes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from crowdlearn.aggregation import OnSweep, Outcome
from crowdlearn.aggregators.dawid_skene import m_step_prior
from crowdlearn.aggregators.outcome import beta_interval, by_label, by_truth, conclude
from crowdlearn.aggregators.settings import check_settings
from crowdlearn.gold import gold_codes
from crowdlearn.inference.starts import Start, soft_majority
from crowdlearn.inference.sweeping import sweep_until_still
from crowdlearn.predictors import ProductPredictor
from crowdlearn.sweeps import Sums, sweeper
from crowdlearn.sweeps.cuts import InBlocks
from crowdlearn.votes import VoteSet

TINY = 1e-30


@dataclass(frozen=True, kw_only=True)
class OneCoin:
    """Settings of one-coin Dawid-Skene by EM."""

    name: ClassVar[str] = "one-coin"
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

    def fit(self, votes: VoteSet, *, gold: Any = None, on_sweep: OnSweep | None = None) -> Outcome:
        """Maximum a posteriori prior and abilities, and the item posteriors they imply."""
        started = time.perf_counter()
        known = gold_codes(votes, gold)
        home = sweeper(votes, known, device=self.device, n_threads=self.n_threads)
        rng = np.random.default_rng(self.seed)
        posterior = home.start(self.start, rng)

        def step(state: tuple[Sums, Any, Any]) -> tuple[tuple[Sums, Any, Any], float, float]:
            prior = m_step_prior(state[0])
            ability = m_step_ability(state[0], votes, self.pseudocount)
            log_extra = float(self.pseudocount * (np.log(ability) + np.log1p(-ability)).sum())
            table = home.error_table(ability)
            sums = home.product(prior, table, posterior)
            return (sums, prior, table), sums.bound + log_extra, sums.change

        first_state: tuple[Sums, Any, Any] = (home.counts(posterior), None, None)
        (sums, prior, table), history = sweep_until_still(
            step,
            first_state,
            max_sweeps=self.max_sweeps,
            tolerance=self.tolerance,
            bound_name="log likelihood",
            on_sweep=on_sweep,
        )
        right = right_votes(sums, votes) + self.pseudocount + 1 / 2
        size = votes.votes_per_worker + 2 * self.pseudocount + 1
        return conclude(
            self,
            votes,
            gold=known,
            posterior=home.read(posterior),
            prior=prior,
            confusion=by_truth(table, votes),
            worker_accuracy=beta_interval(
                right / size, right * (size - right) / (size**2 * (size + 1))
            ),
            history=history,
            predictor=ProductPredictor(prior, by_label(table, votes), np.arange(votes.n_classes)),
            started=started,
        )


def right_votes(sums: Sums, votes: VoteSet) -> Float[np.ndarray, " worker"]:
    """Expected number of right votes of every worker."""
    if isinstance(sums.counts, InBlocks):
        found: np.ndarray = sums.counts.right()  # type: ignore[attr-defined]
        return found
    cube = sums.counts.reshape(votes.n_workers, votes.n_classes, votes.n_classes)
    return np.einsum("wkk->w", cube)


def m_step_ability(sums: Sums, votes: VoteSet, pseudocount: float) -> Float[np.ndarray, " worker"]:
    """Share of right votes; one in `n_classes` for a worker without votes and pseudocount."""
    right = right_votes(sums, votes) + pseudocount
    size = votes.votes_per_worker + 2 * pseudocount
    share = np.where(size > 0, right / np.maximum(size, TINY), 1 / votes.n_classes)
    return np.clip(share, 1e-12, 1 - 1e-12)
