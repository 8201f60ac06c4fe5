"""What a stream shows after a batch: whom the expert should see next, and how wrong it still is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from crowdlearn.evaluation import error_of_names

Urgency = Callable[[np.ndarray], np.ndarray]


def queue(state: Any, urgency: Urgency) -> list[int]:
    """Items without a gold answer, the most urgent first; of equals, the earlier one.

    `urgency` maps posteriors Float[item class] to Float[item], larger is sooner.
    """
    free = np.flatnonzero(state.ledger.gold.live < 0)
    found: list[int] = free[np.argsort(-urgency(state.tau.live[free]), kind="stable")].tolist()
    return found


def error_so_far(state: Any, truths: Mapping[str, str]) -> float | None:
    """Share of wrong labels among the items with truth, ties in parts; None where none has it."""
    return error_of_names(state.items, state.tau.live, state.classes, truths)
