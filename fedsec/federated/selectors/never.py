"""Never: some clients take part in no round, the others are chosen at random. A control.

Shows what training can reach without a Maverick.

Paper   FedEMD (arXiv 2106.10734v1), figures 6 and 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Int64

from fedsec.errors import SettingsError
from fedsec.federated.rounds import View
from fedsec.federated.selectors.checks import check_ids, check_known, check_view


@dataclass(frozen=True, kw_only=True)
class Never:
    """Uniform without replacement, of all clients but `ids`."""

    needs_contribution: ClassVar[bool] = False
    needs_probe: ClassVar[bool] = False

    ids: tuple[int, ...]

    def __post_init__(self) -> None:
        check_ids(self.ids)

    def __call__(self, view: View, rng: np.random.Generator) -> Int64[np.ndarray, " chosen"]:
        """The ids, in random order. Raises SettingsError where too few clients are left."""
        check_view(view)
        check_known(self.ids, view)
        others = np.setdiff1d(np.arange(view.n_clients), self.ids)
        if len(others) < view.per_round:
            raise SettingsError(
                f"{len(others)} clients are left for the {view.per_round} of a round: give fewer"
                " ids, or fewer clients a round"
            )
        return rng.choice(others, view.per_round, replace=False).astype(np.int64)
