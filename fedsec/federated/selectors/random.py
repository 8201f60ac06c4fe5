"""Random: every set of clients is equally likely. What the other selectors are measured against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Int64

from fedsec.federated.rounds import View
from fedsec.federated.selectors.checks import check_view


@dataclass(frozen=True, kw_only=True)
class RandomSelector:
    """Uniform without replacement."""

    needs_contribution: ClassVar[bool] = False
    needs_probe: ClassVar[bool] = False

    def __call__(self, view: View, rng: np.random.Generator) -> Int64[np.ndarray, " chosen"]:
        """The ids, in random order. Raises SettingsError for more clients than there are."""
        check_view(view)
        return rng.choice(view.n_clients, view.per_round, replace=False).astype(np.int64)
