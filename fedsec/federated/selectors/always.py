"""Always: some clients take part in every round, the rest is random. A control.

Shows what a Maverick does to training that it never leaves: its class is learned early, and is
washed out once its own learning rate has decayed.

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
class Always:
    """`ids` in every round, and uniformly chosen others."""

    needs_contribution: ClassVar[bool] = False
    needs_probe: ClassVar[bool] = False

    ids: tuple[int, ...]

    def __post_init__(self) -> None:
        check_ids(self.ids)

    def __call__(self, view: View, rng: np.random.Generator) -> Int64[np.ndarray, " chosen"]:
        """The given ids first. Raises SettingsError where they are too many or do not exist."""
        check_view(view)
        check_known(self.ids, view)
        if len(self.ids) > view.per_round:
            raise SettingsError(
                f"{len(self.ids)} clients are always chosen and {view.per_round} take part in a"
                " round: give fewer ids, or more clients a round"
            )
        others = np.setdiff1d(np.arange(view.n_clients), self.ids)
        rest = rng.choice(others, view.per_round - len(self.ids), replace=False)
        return np.concatenate([np.array(self.ids, np.int64), rest.astype(np.int64)])
