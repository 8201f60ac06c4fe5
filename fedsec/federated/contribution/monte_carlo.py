"""Truncated Monte Carlo (TMC): the Shapley value from random orders of the players.

Story       Draw an order, let the players come one by one, and note what each adds. The mean over
            orders is the value. Once those who came are worth nearly what all are, the rest of the
            order is not evaluated and counts as adding nothing.
Inference   Marginals of different orders are independent, so the standard error is their standard
            deviation over the root of their number, and the interval is Student's.
Paper       Ghorbani and Zou (2019), Data Shapley, arXiv 1904.02868, algorithm 1.
Departures  The truncation tolerance is a share of |v(all) - v(none)|, not of the utility's noise.
Bias        A truncated marginal is 0, not what it would have been. All values together then miss
            v(all) - v(none) by less than the tolerance; one player's can miss by more, where
            later marginals cancel. The standard error knows nothing of it: with `truncation=0`
            the estimate is unbiased. Stopping when values have settled makes intervals a little
            too short; with `tolerance=0` the number of permutations is fixed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from fedsec.errors import SettingsError
from fedsec.federated.contribution.game import RoundGame
from fedsec.federated.contribution.permutations import marginals, relative_change, running_mean
from fedsec.federated.contribution.result import Contribution, about, half_width


@dataclass(frozen=True, kw_only=True)
class MonteCarlo:
    """Shapley values with standard errors; at most K evaluations a permutation.

    truncation        as a share of |v(all) - v(none)|, at least 0
    tolerance         stop when the values have changed by less than this, relative to themselves
                      and in the mean over players, since `window` permutations before; 0 never
    window            at least 1
    max_permutations  at least 2

    Raises SettingsError for a setting out of range.
    """

    name: ClassVar[str] = "monte-carlo"
    truncation: float = 0.01
    tolerance: float = 0.05
    window: int = 100
    max_permutations: int = 1000

    def __post_init__(self) -> None:
        if min(self.truncation, self.tolerance) < 0 or self.window < 1 or self.max_permutations < 2:
            raise SettingsError(
                f"truncation {self.truncation}, tolerance {self.tolerance}: at least 0;"
                f" window {self.window}: at least 1; max_permutations {self.max_permutations}:"
                " at least 2"
            )

    def __call__(self, game: RoundGame, rng: np.random.Generator) -> Contribution:
        """Orders are drawn from `rng`."""
        game = game.counted()
        truncation = self.truncation * abs(game.value(game.everyone) - game.value(0))
        drawn: list[np.ndarray] = []
        means: list[np.ndarray] = []
        settled = False
        while len(drawn) < self.max_permutations and not settled:
            order = rng.permutation(game.n_players).tolist()
            drawn.append(marginals(game, order, truncation))
            means.append(running_mean(means, drawn[-1]))
            if len(means) > self.window:
                settled = relative_change(means[-1], means[-1 - self.window]) < self.tolerance
        error = standard_error(np.stack(drawn))
        width = half_width(error, np.full(game.n_players, len(drawn) - 1.0))
        return about(self, means[-1], error, width, game.n_evaluations, len(drawn), settled)


def standard_error(
    drawn: Float[np.ndarray, "permutation player"],
) -> Float[np.ndarray, " player"]:
    """Of the mean over independent permutations."""
    return drawn.std(axis=0, ddof=1) / np.sqrt(len(drawn))
