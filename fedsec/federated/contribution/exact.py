"""The Shapley value, from all coalitions.

Story       Players come in random order, all orders alike; a player's value is the mean of what it
            adds to those before it,
                phi_i = sum_{S without i} |S|! (K-|S|-1)! / K! * (v(S + i) - v(S)).
Inference   Every coalition is valued once: v(S) counts for its members with weight
            (|S|-1)! (K-|S|)! / K!, and against all others with weight |S|! (K-|S|-1)! / K!.
Paper       Shapley (1953). For the round game: FedEMD, arXiv 2106.10734, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from fedsec.errors import SettingsError
from fedsec.federated.contribution.game import RoundGame, members
from fedsec.federated.contribution.result import Contribution, exactly


@dataclass(frozen=True, kw_only=True)
class Exact:
    """The Shapley value of every player; 2**K evaluations, and no error but rounding.

    Raises SettingsError for more than `max_players`.
    """

    name: ClassVar[str] = "exact"
    max_players: int = 10

    def __call__(self, game: RoundGame, rng: np.random.Generator) -> Contribution:
        """Nothing is drawn: `rng` is there as for all methods."""
        if game.n_players > self.max_players:
            raise SettingsError(
                f"{game.n_players} players have {2**game.n_players} coalitions, too many for"
                f" the exact value (at most {self.max_players} players): use MonteCarlo or Gtg"
            )
        game = game.counted()
        return exactly(self, shapley(game), game.n_evaluations)


def shapley(game: RoundGame) -> Float[np.ndarray, " player"]:
    """The Shapley value from all coalitions; the values sum to v(all) - v(none)."""
    n = game.n_players
    values = np.zeros(n)
    inside = np.zeros(n, dtype=np.bool_)
    for mask in range(1, 1 << n):
        gain, size = game.value(mask) - game.value(0), mask.bit_count()
        inside[:] = False
        inside[members(mask)] = True
        values[inside] += gain / (size * comb(n, size))
        if size < n:
            values[~inside] -= gain / (n * comb(n - 1, size))
    return values
