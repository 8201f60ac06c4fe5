"""ShapleyFL (AFedSV): a moving average of each round's values, and weights made of it.

Story       A round's values are stretched to [0, 1] over the chosen clients; a chosen client's
            surrogate moves towards its own, and the others keep theirs. The server may weigh the
            next updates by the surrogates.
Inference   nsv_i = (sv_i - min) / (max - min);  ssv_i <- decay ssv_i + (1 - decay) nsv_i;
            weight_i = ssv_i / sum of the chosen's ssv
Paper       Sun et al. (2023), KDD, "ShapleyFL: Robust Federated Learning Based on Shapley Value".
Departures  Reconstructed, for we have the paper's formulas only: everybody starts at 1/2, equal
            values give 1/2, surrogates that are all 0 give equal weights, and decay is 1/2.
Error       Of first order, with a round's least and largest value taken as known.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int

from fedsec.errors import SettingsError
from fedsec.federated.contribution.exact import Exact
from fedsec.federated.contribution.game import Method
from fedsec.federated.contribution.per_round import PlayedRound, half_of
from fedsec.federated.contribution.result import Contribution, about

MIDDLE = 0.5  # where nothing is known of a client, or nothing sets it apart


def stretched(values: Float[np.ndarray, " player"]) -> Float[np.ndarray, " player"]:
    """The values on [0, 1]: least 0, largest 1; all 1/2 where they are equal."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.full(len(values), MIDDLE)


def moved(
    surrogate: Float[np.ndarray, " client"],
    chosen: Int[np.ndarray, " player"],
    values: Float[np.ndarray, " player"],
    decay: float,
) -> Float[np.ndarray, " client"]:
    """The surrogates after a round with these values of the chosen clients."""
    after = surrogate.copy()
    after[chosen] = decay * surrogate[chosen] + (1 - decay) * stretched(values)
    return after


def aggregation_shares(
    surrogate: Float[np.ndarray, " client"], chosen: Int[np.ndarray, " player"]
) -> Float[np.ndarray, " player"]:
    """Weights of the chosen clients' updates, which sum to 1; equal where all surrogates are 0."""
    of = surrogate[chosen]
    return of / of.sum() if of.sum() > 0 else np.full(len(chosen), 1 / len(chosen))


@dataclass(frozen=True, kw_only=True)
class ShapleyFL:
    """Surrogate values in [0, 1], a moving average over rounds; `decay` in [0, 1).

    Raises SettingsError for another decay.
    """

    name: ClassVar[str] = "shapleyfl"
    within: Method = field(default_factory=Exact)
    decay: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise SettingsError(f"decay is {self.decay}: from 0 to below 1")

    def __call__(
        self, rounds: Iterable[PlayedRound], n_clients: int, rng: np.random.Generator
    ) -> Contribution:
        """One value for each of `n_clients`. Rounds may be a generator: one at a time is held."""
        surrogate = np.full(n_clients, MIDDLE)
        variance, width = np.zeros(n_clients), np.zeros(n_clients)
        n_evaluations = n_permutations = 0
        converged = True
        for one in rounds:
            chosen = one.within(n_clients)
            found = self.within(one.game, rng)
            surrogate = moved(surrogate, chosen, found.values, self.decay)
            spread = float(np.ptp(found.values))
            new = (1 - self.decay) / spread if spread > 0 else 0.0
            for so_far, part in ((variance, found.standard_error), (width, half_of(found))):
                so_far[chosen] = self.decay**2 * so_far[chosen] + (new * part) ** 2
            n_evaluations += found.n_evaluations
            n_permutations += found.n_permutations
            converged &= found.converged
        result = about(
            self, surrogate, np.sqrt(variance), np.sqrt(width),
            n_evaluations, n_permutations, converged,
        )  # fmt: skip
        return replace(result, interval=np.clip(result.interval, 0, 1))
