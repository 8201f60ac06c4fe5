"""Shapley-weighted: who contributed more is chosen more often.

Story           Each client weighs what it contributed in the last round it took part in, relative
                to the others of that round. A client that never took part weighs as the average.
                A Maverick looks worthless early, so this selector hardly ever sees it again.
Paper           The baseline "SVB" of FedEMD (arXiv 2106.10734v1), section 5: weighted random
                selection with probabilities proportional to the relative Shapley values.
Reconstructed   The paper does not say how values become relative where some are negative: softmax
                gives the published picture. Relative within a round, for the values of all clients
                shrink as training converges. The weights before a client took part, and that
                nothing but its last round counts, are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int64
from scipy.special import softmax

from fedsec.errors import SettingsError
from fedsec.federated.rounds import Round, View
from fedsec.federated.selectors.checks import check_view
from fedsec.federated.selectors.reservoir import weighted_reservoir

Relative = Callable[[np.ndarray], np.ndarray]  # (chosen) -> (chosen), at least 0


@dataclass(frozen=True, kw_only=True)
class ShapleyWeighted:
    """Weighted choice by relative contribution.

    relative   makes weights of the contributions of one round, as the shares that
               `fedsec.federated.contribution` has
    """

    needs_contribution: ClassVar[bool] = True
    needs_probe: ClassVar[bool] = False

    relative: Relative = softmax

    def __call__(self, view: View, rng: np.random.Generator) -> Int64[np.ndarray, " chosen"]:
        """The ids. Raises SettingsError for more clients than there are, or as below."""
        check_view(view)
        return weighted_reservoir(self.weights(view), view.per_round, rng)

    def weights(self, view: View) -> Float[np.ndarray, " client"]:
        """Of each client, not summing to 1; all 1 while nothing is known.

        What is not finite, or of a refused client, was not measured. Raises SettingsError where
        rounds have been and no contribution was measured in any.
        """
        if view.rounds and all(one.contribution is None for one in view.rounds):
            raise SettingsError(
                f"round {view.number}: shapley-weighted needs contributions, and none of the"
                f" {len(view.rounds)} rounds has them: measure them each round"
            )
        known = view.last_known(self._relative)
        if np.isnan(known).all():
            return np.ones(view.n_clients)
        return np.where(np.isnan(known), np.nanmean(known), known)

    def _relative(self, one: Round) -> Float[np.ndarray, " chosen"] | None:
        if one.contribution is None:
            return None
        weights = np.full(len(one.chosen), np.nan)
        measured = np.isfinite(one.contribution) & ~np.isin(one.chosen, one.refused)
        if measured.any():
            weights[measured] = self.relative(one.contribution[measured])
        return weights
