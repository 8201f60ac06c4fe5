"""Contributions over a whole training: the sum of what each client contributed to its rounds.

Story       Each round is a game of the clients chosen in it; who was not chosen gets 0 there. A
            client's value is the sum over rounds.
Paper       FedSV: Wang, Rausch, Zhang, Jia and Song (2020), arXiv 2009.06192.
Departures  Any method may value the rounds. Rounds are drawn independently, so variances add.
            Half widths of intervals add in squares too: exact where they are normal, on the safe
            side where few permutations made them wider, and one round keeps its own interval.
Caution     The sum rewards being chosen: two clients with the same data differ by luck. `ComFedSV`
            is meant to mend that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int

from fedsec.errors import SettingsError
from fedsec.federated.contribution.exact import Exact
from fedsec.federated.contribution.game import Method, RoundGame
from fedsec.federated.contribution.result import Contribution, about


@dataclass(frozen=True, eq=False)
class PlayedRound:
    """A round's game, and the client behind each of its players.

    Raises SettingsError where their numbers differ or a client is there twice.
    """

    game: RoundGame
    chosen: Int[np.ndarray, " player"]

    def __post_init__(self) -> None:
        n = len(self.chosen)
        if n != self.game.n_players or len(np.unique(self.chosen)) != n:
            raise SettingsError(
                f"clients {self.chosen.tolist()} for {self.game.n_players} players: give one"
                " different client for each"
            )

    def within(self, n_clients: int) -> Int[np.ndarray, " player"]:
        """The clients. Raises SettingsError where one is not among the first `n_clients`."""
        if self.chosen.min() < 0 or self.chosen.max() >= n_clients:
            raise SettingsError(
                f"clients {self.chosen.tolist()} are not all of 0 to {n_clients - 1}"
            )
        return self.chosen


@dataclass(frozen=True, kw_only=True)
class FedSV:
    """The sum over rounds of the values that a method finds within them."""

    name: ClassVar[str] = "fedsv"
    within: Method = field(default_factory=Exact)

    def __call__(
        self, rounds: Iterable[PlayedRound], n_clients: int, rng: np.random.Generator
    ) -> Contribution:
        """One value for each of `n_clients`. Rounds may be a generator: one at a time is held."""
        values = np.zeros(n_clients)
        variance, width = np.zeros(n_clients), np.zeros(n_clients)
        n_evaluations = n_permutations = 0
        converged = True
        for one in rounds:
            chosen = one.within(n_clients)
            found = self.within(one.game, rng)
            values[chosen] += found.values
            variance[chosen] += found.standard_error**2
            width[chosen] += half_of(found) ** 2
            n_evaluations += found.n_evaluations
            n_permutations += found.n_permutations
            converged &= found.converged
        return about(
            self, values, np.sqrt(variance), np.sqrt(width),
            n_evaluations, n_permutations, converged,
        )  # fmt: skip


def half_of(found: Contribution) -> Float[np.ndarray, " player"]:
    """Half the length of each interval."""
    return (found.interval[:, 1] - found.interval[:, 0]) / 2
