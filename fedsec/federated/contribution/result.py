"""What a method found: values, how sure it is of them, and what finding them cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

LEVEL = 0.95  # of every interval


@dataclass(frozen=True, eq=False)
class Contribution:
    """What each player of a game contributed, in units of its utility (nats, or a share right).

    values          one for each player: the chosen clients in the order of the updates. Methods
                    over rounds give one for each client of the federation
    standard_error  of the values, from drawing alone; 0 where nothing is drawn. It does not cover
                    a bias that truncation brings, nor that the utility is measured on a sample
    interval        lower and upper end at 95 %
    n_evaluations   different coalitions whose value the method asked for. Where a game knew some
                    of them already, fewer were computed: `RoundGame.n_evaluations` counts those
    n_permutations  that were drawn; 0 for a method that draws none
    converged       whether the method's own rule ended it, not its largest number of permutations
    method          its name, and `settings` all its settings, fit for JSON
    """

    values: Float[np.ndarray, " player"]
    standard_error: Float[np.ndarray, " player"]
    interval: Float[np.ndarray, "player 2"]
    n_evaluations: int
    n_permutations: int
    converged: bool
    method: str
    settings: Mapping[str, Any]


def exactly(
    method: Any, values: Float[np.ndarray, " player"], n_evaluations: int, n_permutations: int = 0
) -> Contribution:
    """A result without any error from drawing."""
    nothing = np.zeros(len(values))
    return about(method, values, nothing, nothing, n_evaluations, n_permutations)


def about(
    method: Any,
    values: Float[np.ndarray, " player"],
    standard_error: Float[np.ndarray, " player"],
    half_width: Float[np.ndarray, " player"],
    n_evaluations: int,
    n_permutations: int,
    converged: bool = True,
) -> Contribution:
    """A result whose interval is the values plus and minus a half width."""
    return Contribution(
        values=values,
        standard_error=standard_error,
        interval=np.stack([values - half_width, values + half_width], axis=1),
        n_evaluations=n_evaluations,
        n_permutations=n_permutations,
        converged=converged,
        method=method.name,
        settings=settings_of(method),
    )


def half_width(
    standard_error: Float[np.ndarray, " player"], freedom: Float[np.ndarray, " player"]
) -> Float[np.ndarray, " player"]:
    """Of the 95 % interval by Student's t with these degrees of freedom."""
    return stdtrit(freedom, (1 + LEVEL) / 2) * standard_error


def settings_of(method: Any) -> dict[str, Any]:
    """All settings of a method by name; a method among them becomes its name and its settings."""
    found: dict[str, Any] = {field.name: getattr(method, field.name) for field in fields(method)}
    return {
        name: {"method": value.name, **settings_of(value)}
        if hasattr(type(value), "name")
        else value
        for name, value in found.items()
    }
