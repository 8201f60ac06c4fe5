"""ZenCrowd: every worker has one reliability, and no class is likelier than another beforehand.

Story       truth[i] ~ Uniform over the classes
            label[v] = truth[item[v]] with probability reliability[worker[v]],
                       else another class, uniformly
Inference   EM from one reliability for everybody; the log likelihood never falls.
Paper       Demartini, Difallah and Cudre-Mauroux (2012), ZenCrowd, WWW, in the form for one
            choice of Zheng et al. (2017), Truth inference in crowdsourcing, PVLDB 10(5).
Departures  Sweeps go on until nothing moves, where the survey stops after 20 (`max_sweeps=20`). The
            paper's factor graph also scores candidate links and their constraints; votes have none.
See also    `one_coin.py` learns the class prior from the votes too, starts from their shares and
            adds a pseudocount. Here the prior stays uniform and only the reliabilities are learned:
            on uneven classes one-coin trusts the common class more, and this does not.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from crowdlearn.aggregation import Aggregation, OnSweep
from crowdlearn.aggregators.one_coin import right_votes
from crowdlearn.aggregators.outcome import beta_interval, by_truth, conclude
from crowdlearn.aggregators.settings import check_settings
from crowdlearn.gold import gold_codes
from crowdlearn.inference.sweeping import sweep_until_still
from crowdlearn.predictors import ProductPredictor
from crowdlearn.sweeps import Sums, sweeper
from crowdlearn.votes import Votes

MOST = 1 - 1e-6  # a reliability stays this far from certainty, either way


@dataclass(frozen=True, kw_only=True)
class ZenCrowd:
    """Settings of ZenCrowd; `reliability`, in (0, 1), is everybody's before the first sweep."""

    name: ClassVar[str] = "zencrowd"
    random: ClassVar[bool] = False

    reliability: float = 0.8
    max_sweeps: int = 1000
    tolerance: float = 1e-6
    seed: int = 0
    device: str = "auto"
    n_threads: int = 0

    def __post_init__(self) -> None:
        check_settings(self)

    def fit(
        self, votes: Votes, *, gold: Any = None, on_sweep: OnSweep | None = None
    ) -> Aggregation:
        """Maximum likelihood reliabilities, and the item posteriors they imply."""
        started = time.perf_counter()
        known = gold_codes(votes, gold)
        home = sweeper(votes, known, device=self.device, n_threads=self.n_threads)
        prior = np.full(votes.n_classes, 1 / votes.n_classes)
        posterior = home.posterior()

        def step(state: tuple[Any, Any, Any]) -> tuple[tuple[Any, Any, Any], float, float]:
            table = home.error_table(state[0])
            sums = home.product(prior, table, posterior)
            return (m_step(sums, votes, self.reliability), table, sums), sums.bound, sums.change

        first_state: tuple[Any, Any, Any] = (np.full(votes.n_workers, self.reliability), None, None)
        (_, table, sums), history = sweep_until_still(
            step,
            first_state,
            max_sweeps=self.max_sweeps,
            tolerance=self.tolerance,
            bound_name="log likelihood",
            on_sweep=on_sweep,
        )
        right, size = right_votes(sums, votes) + 1 / 2, votes.votes_per_worker + 1.0
        shape = (votes.n_workers, votes.n_classes, votes.n_classes)
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
            predictor=ProductPredictor(prior, table.reshape(shape), np.arange(votes.n_classes)),
            started=started,
        )


def m_step(sums: Sums, votes: Votes, reliability: float) -> Float[np.ndarray, " worker"]:
    """Share of each worker's votes that are right; `reliability` for a worker without votes."""
    size = votes.votes_per_worker
    share = np.where(size > 0, right_votes(sums, votes) / np.maximum(size, 1), reliability)
    return np.clip(share, 1 - MOST, MOST)
