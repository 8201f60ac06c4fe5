"""GLAD: workers have ability, items have difficulty, and a vote is right as the two allow.

Story       truth[i] ~ Uniform over the classes
            ability[w] ~ Normal(1, ability_spread)            negative: rather wrong than right
            log easiness[i] ~ Normal(1, easiness_spread)
            label[v] = truth[item[v]] with probability sigmoid(ability[w] * easiness[i]) for vote v
                       by worker w on item i, else another class, uniformly
Inference   Maximum a posteriori abilities and easinesses with the truths summed out, by L-BFGS with
            exact gradients, from the prior means; the penalised log likelihood never falls. At the
            end every item's easiness settles given the abilities, as that of a new item would.
Paper       Whitehill, Ruvolo, Wu, Bergsma and Movellan (2009), Whose vote should count more, NIPS;
            with several classes as in the authors' program and in Zheng et al. (2017), PVLDB 10(5).
Departures  The paper alternates truths (E step) with conjugate gradients for the rest (M step). The
            slope of the log likelihood equals that of its M step, so its fixed points are the ones
            found here, in far fewer passes over the votes. `difficulty` is 1 / (1 + easiness), the
            paper's is 1 / easiness: 0 where whoever has any ability is right, 1 where ability is of
            no help.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from scipy.optimize import OptimizeResult, minimize
from scipy.special import expit

from crowdlearn.aggregation import Aggregation, History, OnSweep, Sweep
from crowdlearn.aggregators.outcome import beta_interval, by_truth, clamped, conclude
from crowdlearn.aggregators.settings import check_settings
from crowdlearn.gold import gold_codes
from crowdlearn.predictors import AbilityPredictor
from crowdlearn.sweeps.tables import error_table
from crowdlearn.votes import Votes

CENTRE = 1.0  # prior mean of ability and of log easiness
BEND = 0.43  # of a vote's log likelihood at the prior means: x^2 s(x) (1 - s(x)) at x = e


@dataclass(frozen=True, kw_only=True)
class Glad:
    """Settings of GLAD; the spreads are standard deviations of the priors."""

    name: ClassVar[str] = "glad"
    random: ClassVar[bool] = False

    ability_spread: float = 1.0
    easiness_spread: float = 1.0
    max_sweeps: int = 1000
    tolerance: float = 1e-6
    seed: int = 0
    n_threads: int = 0

    def __post_init__(self) -> None:
        check_settings(self)

    def fit(
        self, votes: Votes, *, gold: Any = None, on_sweep: OnSweep | None = None
    ) -> Aggregation:
        """Maximum a posteriori abilities and easinesses, and the item posteriors they imply."""
        from crowdlearn.sweeps.ability import AbilitySweeper

        started = time.perf_counter()
        known = gold_codes(votes, gold)
        home = AbilitySweeper(votes, known, self.n_threads)
        climb = Climb(home, self.ability_spread, self.easiness_spread)
        ability, history = climb_until_still(climb, self.max_sweeps, self.tolerance, on_sweep)
        log_easiness, posterior = home.settle(ability, CENTRE, self.easiness_spread)
        right = vote_accuracy(votes, ability, np.exp(log_easiness))
        agreed = _per_worker(votes, posterior[votes.item, votes.label]) + 1 / 2
        size = votes.votes_per_worker + 1.0
        return conclude(
            self,
            votes,
            gold=known,
            posterior=clamped(posterior, known),
            prior=np.full(votes.n_classes, 1 / votes.n_classes),
            confusion=by_truth(error_table(right, votes.n_classes), votes),
            worker_accuracy=beta_interval(
                agreed / size, agreed * (size - agreed) / (size**2 * (size + 1))
            ),
            history=history,
            predictor=AbilityPredictor(ability, np.array([CENTRE, self.easiness_spread])),
            started=started,
            difficulty=expit(-log_easiness),
        )


@dataclass(eq=False)
class Climb:
    """The penalised log likelihood as `scipy.optimize` wants it: negated, of one scaled vector."""

    home: Any
    ability_spread: float
    easiness_spread: float

    def __post_init__(self) -> None:
        votes = self.home.votes
        self.posterior = np.zeros((votes.n_items, votes.n_classes))
        self.scale = np.sqrt(
            np.concatenate(
                [
                    self.ability_spread**-2 + BEND * votes.votes_per_worker,
                    self.easiness_spread**-2 + BEND * votes.votes_per_item,
                ]
            )
        )

    def start(self) -> Float[np.ndarray, " unknown"]:
        return np.zeros(len(self.scale))

    def parameters(
        self, x: Float[np.ndarray, " unknown"]
    ) -> tuple[Float[np.ndarray, " worker"], Float[np.ndarray, " item"]]:
        """Abilities and log easinesses at `x`, in units of 1 / `scale` from the means."""
        both = CENTRE + x / self.scale
        return both[: self.home.votes.n_workers], both[self.home.votes.n_workers :]

    def __call__(
        self, x: Float[np.ndarray, " unknown"]
    ) -> tuple[float, Float[np.ndarray, " unknown"]]:
        """Minus the penalised log likelihood, nats, and its gradient; refreshes `posterior`."""
        ability, log_easiness = self.parameters(x)
        log_likelihood, to_ability, to_easiness = self.home.climb(
            ability, log_easiness, self.posterior
        )
        off_ability = (ability - CENTRE) / self.ability_spread
        off_easiness = (log_easiness - CENTRE) / self.easiness_spread
        height = log_likelihood - (off_ability @ off_ability + off_easiness @ off_easiness) / 2
        slope = [
            to_ability - off_ability / self.ability_spread,
            to_easiness - off_easiness / self.easiness_spread,
        ]
        return -height, -np.concatenate(slope) / self.scale


def climb_until_still(
    climb: Climb, max_sweeps: int, tolerance: float, on_sweep: OnSweep | None
) -> tuple[Float[np.ndarray, " worker"], History]:
    """L-BFGS until no posterior probability moves by more than `tolerance`, or nothing rises.

    A sweep is one accepted step. The caller may stop it through `on_sweep`.
    """
    bounds: list[float] = []
    changes: list[float] = []
    ended = {"still": False, "stopped": False}
    climb(climb.start())
    before = climb.posterior.copy()

    def callback(intermediate_result: OptimizeResult) -> None:
        bounds.append(-float(intermediate_result.fun))
        changes.append(float(np.abs(climb.posterior - before).max()))
        before[:] = climb.posterior
        ended["still"] = changes[-1] <= tolerance
        if on_sweep is not None:
            at = Sweep(len(bounds), max_sweeps, changes[-1], bounds[-1])
            ended["stopped"] = bool(on_sweep(at))
        if ended["still"] or ended["stopped"]:
            raise StopIteration

    result = minimize(
        climb,
        climb.start(),
        jac=True,
        method="L-BFGS-B",
        callback=callback,
        options={"maxiter": max_sweeps, "maxfun": 20 * max_sweeps, "ftol": 0.0, "gtol": 0.0},
    )
    at_the_top = len(bounds) < max_sweeps and not ended["stopped"]
    return climb.parameters(result.x)[0], History(
        bound=np.array(bounds),
        change=np.array(changes),
        bound_name="log density",
        converged=ended["still"] or at_the_top,
        stopped=ended["stopped"] and not ended["still"],
    )


def vote_accuracy(
    votes: Votes, ability: Float[np.ndarray, " worker"], easiness: Float[np.ndarray, " item"]
) -> Float[np.ndarray, " worker"]:
    """Each worker's probability of being right, averaged over their own votes.

    For a worker without votes it is that of their ability, the prior mean, on a typical item.
    """
    right = expit(ability[votes.worker] * easiness[votes.item])
    alone = expit(ability * np.exp(CENTRE))
    size = votes.votes_per_worker
    return np.where(size > 0, _per_worker(votes, right) / np.maximum(size, 1), alone)


def _per_worker(votes: Votes, values: Float[np.ndarray, " vote"]) -> Float[np.ndarray, " worker"]:
    return np.bincount(votes.worker, values, minlength=votes.n_workers)
