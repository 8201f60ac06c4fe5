"""What selectors check: their settings when they are made, the view when they choose."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import numpy as np
from jaxtyping import Int

from fedsec.errors import SettingsError
from fedsec.federated.rounds import Probe, View

Number = int | float


def check_settings(selector: Any, **limits: tuple[Number, Number]) -> None:
    """Raises SettingsError that names the first number outside its limits, which may be reached.

    `limits` holds (least, most) by the name of the setting; None passes where a setting takes it.
    """
    types = {field.name: str(field.type) for field in fields(selector)}
    for name, (least, most) in limits.items():
        value, whole = getattr(selector, name), types[name].startswith("int")
        if value is None and types[name].endswith("None"):
            continue
        kind = "a whole number" if whole else "a number"
        if isinstance(value, bool) or not isinstance(value, int if whole else Number):
            raise SettingsError(f"{name} must be {kind}, not {value!r}")
        if not (least <= value <= most and math.isfinite(value)):
            span = f"at least {least}" if math.isinf(most) else f"from {least} to {most}"
            raise SettingsError(f"{name} must be {kind}, {span}, not {value!r}")


def check_ids(ids: tuple[int, ...]) -> None:
    """Raises SettingsError for no id, a negative one, or the same one twice."""
    if not ids or min(ids) < 0 or len(set(ids)) != len(ids):
        raise SettingsError(f"ids must be different clients, counted from 0, not {list(ids)}")


def check_view(view: View) -> None:
    """Raises SettingsError where the round cannot have as many different clients as it asks for."""
    if not 1 <= view.per_round <= view.n_clients:
        raise SettingsError(
            f"{view.per_round} clients a round of {view.n_clients}: take 1 to {view.n_clients}"
        )


def check_known(ids: tuple[int, ...], view: View) -> None:
    """Raises SettingsError for an id that no client has."""
    if max(ids) >= view.n_clients:
        raise SettingsError(
            f"client {max(ids)} does not exist: the clients are 0 to {view.n_clients - 1}"
        )


def probed(view: View, ids: Int[np.ndarray, " some"]) -> list[Probe]:
    """The probes of these clients. Raises SettingsError where the view cannot make them."""
    if view.probe is None:
        raise SettingsError(
            f"round {view.number}: this selector probes clients before it chooses, and the view"
            " has no probe: give it one, or take a selector that needs none"
        )
    return view.probe(ids)
