"""Settings of methods: checked when a method is made, recorded when it has run."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

from crowdlearn.errors import SettingsError

LEAST = {
    "max_sweeps": 1,
    "tolerance": 0,
    "seed": 0,
    "n_threads": 0,
    "n_chains": 1,
    "n_warmup": 0,
    "n_draws": 1,
    "n_restarts": 1,
    "n_resamples": 1,
    "n_folds": 1,
    "unseen": 0,
    "n_subtypes": 1,
    "n_communities": 1,
    "pseudocount": 0,
    "n_steps": 1,
    "batch_items": 0,
    "max_tree_depth": 1,
    "n_rounds": 1,
    "strength": 0,
    "n_epochs": 1,
    "n_pretrain_epochs": 0,
    "n_aspects": 0,
    "patience": 1,
    "left_out": 0,
    "n_errors": 0,
    "beta": 0,
    "kl_weight": 0,
    "kl": 0,
    "l1": 0,
    "l2": 0,
}
"""The least value of a setting, wherever a method has it."""

POSITIVE = {
    "prior_count",
    "off_diagonal",
    "diagonal",
    "settled_diagonal",
    "easy",
    "hard",
    "guess_count",
    "subtype_count",
    "honest",
    "spam",
    "worker_penalty",
    "margin",
    "weight_variance",
    "confusion_count",
    "item_penalty",
    "community_count",
    "concentration",
    "spread",
    "middle_spread",
    "gap_spread",
    "bias_spread",
    "slope_spread",
    "noise_spread",
    "sharpness_spread",
    "ability_spread",
    "easiness_spread",
}
"""Parameters of priors: Dirichlet and Beta counts, and standard deviations."""

BETWEEN_0_AND_1 = {"lapse", "reliability", "target_accept"}
"""Probabilities that may be neither 0 nor 1."""


def check_settings(method: Any) -> None:
    """Raises SettingsError that names the first setting of the wrong type or out of range."""
    for field in fields(method):
        value = getattr(method, field.name)
        if field.type in ("int", "float"):
            _check_number(field.name, value, whole=field.type == "int")


def _check_number(name: str, value: Any, whole: bool) -> None:
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        kind = "a whole number" if whole else "a number"
        raise SettingsError(f"{name} must be {kind}, not {value!r}")
    if not math.isfinite(value):
        raise SettingsError(f"{name} must be finite, not {value!r}")
    if name in ("learning_rate", "clip") and value <= 0:
        raise SettingsError(f"{name} must be positive, not {value!r}")
    if name in POSITIVE and value <= 0:
        raise SettingsError(f"{name} must be positive, not {value!r}: the prior would be improper")
    if name in BETWEEN_0_AND_1 and not 0 < value < 1:
        raise SettingsError(f"{name} must be between 0 and 1, not {value!r}")
    if name in LEAST and value < LEAST[name]:
        raise SettingsError(f"{name} must be at least {LEAST[name]}, not {value!r}")


def settings_of(method: Any) -> dict[str, Any]:
    """Settings as plain JSON values; a function becomes its name, a tuple a list."""
    values = {f.name: getattr(method, f.name) for f in fields(method)}
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return value.__name__ if callable(value) else value
