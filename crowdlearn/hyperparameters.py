"""Hyperparameters of stories, checked where a story reads them."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from crowdlearn.errors import SettingsError


def positive(name: str, value: Any) -> float:
    """`value`, which must be a positive number: a count of a Dirichlet or Beta, a spread."""
    number = finite(name, value)
    if number <= 0:
        raise SettingsError(f"{name} must be positive, not {value!r}: the prior would be improper")
    return number


def finite(name: str, value: Any) -> float:
    """`value`, which must be a finite number: a mean."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise SettingsError(f"{name} must be a number, not {value!r}")
    if not math.isfinite(value):
        raise SettingsError(f"{name} must be finite, not {value!r}: the prior would be improper")
    return float(value)


def at_least_one(name: str, value: Any) -> int:
    """`value`, which must be a whole number of 1 or more: how many there are of something."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise SettingsError(f"{name} must be a whole number, not {value!r}")
    if value < 1:
        raise SettingsError(f"{name} must be at least 1, not {value!r}")
    return value
