"""GTG-Shapley: guided orders, truncated within rounds and between them.

Story       A round that gained next to nothing gives nobody anything. Otherwise the players come in
            orders whose first places go round all possibilities, so that everybody leads equally
            often, and whose other places are random; once those who came are worth nearly what all
            are, the rest counts as adding nothing.
Inference   1. |v(all) - v(none)| <= eps_round: all values are 0                (between rounds)
            2. evaluate place j only if |v(all) - v_{j-1}| >= eps_permutation   (within a round)
            3. phi_i <- ((k-1)/k) phi_i + (1/k) (v_j - v_{j-1}), i in place j of order k
            4. until (1/10n) sum_{m=1..10} sum_i |phi_i^k - phi_i^{k-m}| / |phi_i^k| < tolerance
Paper       Liu, Chen, Yu, Liu and Cui (2022), ACM TIST 13(4),
            arXiv 2109.02053, algorithm 1.
Departures  Rule 4 is looked at when a cycle of leaders is complete, and from the second cycle on:
            only then has everybody led equally often, and the estimate is unbiased but for
            truncation. Public simulators do likewise. The standard error is ours: the leaders are
            strata, within which orders are independent (see `stratified_error`).
Bias        As for `MonteCarlo`: a truncated marginal is 0, and the standard error does not know.
            A skipped round has values and errors of 0, and they miss up to eps_round in sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from math import perm
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from fedsec.errors import SettingsError
from fedsec.federated.contribution.game import RoundGame
from fedsec.federated.contribution.permutations import marginals, relative_change, running_mean
from fedsec.federated.contribution.result import Contribution, about, exactly, half_width

LOOK_BACK = 10  # permutations that the rule of convergence looks back on


@dataclass(frozen=True, kw_only=True)
class Gtg:
    """Shapley values with standard errors.

    eps_round         in units of the utility, at least 0: a round of no larger gain is skipped
    eps_permutation   in units of the utility, at least 0
    n_guided          places at the front that go round all possibilities, at least 0; with as
                      many as there are players every order is taken
    tolerance         of the rule of convergence; 0 never stops early
    max_permutations  at least two cycles of leaders: 2 K! / (K - n_guided)!

    The defaults of eps are those of public simulators, for a loss in nats. Raises SettingsError
    for a setting out of range.
    """

    name: ClassVar[str] = "gtg"
    eps_round: float = 0.01
    eps_permutation: float = 0.001
    n_guided: int = 1
    tolerance: float = 0.05
    max_permutations: int = 1000

    def __post_init__(self) -> None:
        if min(self.eps_round, self.eps_permutation, self.tolerance, self.n_guided) < 0:
            raise SettingsError(
                f"eps_round {self.eps_round}, eps_permutation {self.eps_permutation}, n_guided"
                f" {self.n_guided}, tolerance {self.tolerance}: all must be at least 0"
            )

    def __call__(self, game: RoundGame, rng: np.random.Generator) -> Contribution:
        """Places that are not guided are drawn from `rng`."""
        n_guided = min(self.n_guided, game.n_players)
        n_leaders = perm(game.n_players, n_guided)
        if 2 * n_leaders > self.max_permutations:
            raise SettingsError(
                f"{n_leaders} ways to lead with n_guided={self.n_guided} of {game.n_players}"
                f" players: two cycles exceed max_permutations={self.max_permutations}; raise it"
                " or guide fewer places"
            )
        game = game.counted()
        if abs(game.value(game.everyone) - game.value(0)) <= self.eps_round:
            return exactly(self, np.zeros(game.n_players), game.n_evaluations)
        cycles: list[np.ndarray] = []
        means: list[np.ndarray] = []
        settled = False
        while (len(cycles) + 1) * n_leaders <= self.max_permutations and not settled:
            cycle = []
            for leaders in permutations(range(game.n_players), n_guided):
                order = [*leaders, *_others(leaders, game.n_players, rng)]
                cycle.append(marginals(game, order, self.eps_permutation))
                means.append(running_mean(means, cycle[-1]))
            cycles.append(np.stack(cycle))
            settled = len(cycles) > 1 and recent_change(means) < self.tolerance
        error, freedom = stratified_error(np.stack(cycles))
        width = half_width(error, freedom)
        return about(self, means[-1], error, width, game.n_evaluations, len(means), settled)


def recent_change(means: Sequence[Float[np.ndarray, " player"]]) -> float:
    """The left side of rule 4: mean relative change since each of the 10 permutations before.

    Infinite where there are no 10 before the last.
    """
    if len(means) <= LOOK_BACK:
        return float("inf")
    changes = [relative_change(means[-1], means[-1 - m]) for m in range(1, LOOK_BACK + 1)]
    return float(np.mean(changes))


def stratified_error(
    drawn: Float[np.ndarray, "cycle leader player"],
) -> tuple[Float[np.ndarray, " player"], Float[np.ndarray, " player"]]:
    """Standard error of the mean and its degrees of freedom, for at least two cycles.

    With H leaders and c cycles the variance of the mean is sum_h s_h^2 / (c H^2), s_h^2 being the
    variance over cycles under leader h; its degrees of freedom are Satterthwaite's,
    (c - 1) (sum_h s_h^2)^2 / sum_h s_h^4.
    """
    n_cycles, n_leaders, _ = drawn.shape
    variance = drawn.var(axis=0, ddof=1)  # (leader, player)
    total, squares = variance.sum(axis=0), (variance**2).sum(axis=0)
    ratio = np.divide(total**2, squares, out=np.ones(len(total)), where=squares > 0)
    return np.sqrt(total / n_cycles) / n_leaders, (n_cycles - 1) * ratio


def _others(leaders: tuple[int, ...], n_players: int, rng: np.random.Generator) -> list[int]:
    """All players but the leaders, in random order."""
    others = np.array([player for player in range(n_players) if player not in leaders], dtype=int)
    return rng.permutation(others).tolist()
