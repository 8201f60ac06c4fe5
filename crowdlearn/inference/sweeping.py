"""Sweep until nothing moves: the loop around every EM and variational method."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from crowdlearn.aggregation import History, OnSweep, Sweep

State = TypeVar("State")


def sweep_until_still(
    step: Callable[[State], tuple[State, float, float]],
    state: State,
    *,
    max_sweeps: int,
    tolerance: float,
    bound_name: str,
    on_sweep: OnSweep | None,
) -> tuple[State, History]:
    """Repeat `step(state) -> (state, bound, change)` until `change <= tolerance`.

    Ends after `max_sweeps`, or when `on_sweep` returns True, with the state reached by then.
    """
    bounds: list[float] = []
    changes: list[float] = []
    converged = stopped = False
    while len(changes) < max_sweeps and not (converged or stopped):
        state, bound, change = step(state)
        bounds.append(bound)
        changes.append(change)
        converged = change <= tolerance
        if on_sweep is not None:
            stopped = bool(on_sweep(Sweep(len(changes), max_sweeps, change, bound)))
    return state, History(
        bound=np.array(bounds),
        change=np.array(changes),
        bound_name=bound_name,
        converged=converged,
        stopped=stopped and not converged,
    )
