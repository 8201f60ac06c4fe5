"""Power of choice: of some candidates, those whose loss is highest.

Story   Draw candidates with probability proportional to their data, without replacement; ask each
        for the loss of the global model on its data; keep the K with the highest.
Paper   Cho, Wang and Joshi (2020), arXiv 2010.01243, algorithm pi_pow-d.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Int64

from fedsec.errors import SettingsError
from fedsec.federated.rounds import View
from fedsec.federated.selectors.checks import check_settings, check_view, probed
from fedsec.federated.selectors.reservoir import weighted_reservoir


@dataclass(frozen=True, kw_only=True)
class PowerOfChoice:
    """The highest losses of some candidates.

    n_candidates   clients that are probed in a round, from K to N (the paper's d); None for 4 K,
                   or all clients where they are fewer. K of them choose by size alone.
    """

    needs_contribution: ClassVar[bool] = False
    needs_probe: ClassVar[bool] = True

    n_candidates: int | None = None

    def __post_init__(self) -> None:
        check_settings(self, n_candidates=(1, math.inf))

    def __call__(self, view: View, rng: np.random.Generator) -> Int64[np.ndarray, " chosen"]:
        """The ids, highest loss first.

        Raises SettingsError for fewer candidates than clients a round, for more than there are
        clients, and for a view that cannot probe.
        """
        check_view(view)
        n = self.n_candidates
        if n is None:
            n = min(view.n_clients, 4 * view.per_round)
        if not view.per_round <= n <= view.n_clients:
            raise SettingsError(
                f"n_candidates is {n}: with {view.per_round} clients a round of {view.n_clients}"
                f" take {view.per_round} to {view.n_clients}"
            )
        candidates = weighted_reservoir(view.sizes / view.sizes.sum(), n, rng)
        loss = np.array([probe.loss for probe in probed(view, candidates)])
        return candidates[np.argsort(-loss, kind="stable")[: view.per_round]]
