"""Who takes part in a round. `SELECTORS` names the rules; `selector(name)` makes one.

Every selector is a frozen dataclass of settings with `(view, rng) -> ids`: `view.per_round`
different clients, a function of the two arguments alone. Its class constants say what it needs of
the rounds: `needs_contribution`, that each round measures what its clients contributed, and
`needs_probe`, that the view can probe clients.
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from fedsec.errors import SettingsError
from fedsec.federated.selectors.always import Always
from fedsec.federated.selectors.fedemd import FedEmd
from fedsec.federated.selectors.fedfast import FedFast
from fedsec.federated.selectors.never import Never
from fedsec.federated.selectors.oort import Oort
from fedsec.federated.selectors.power_of_choice import PowerOfChoice
from fedsec.federated.selectors.random import RandomSelector
from fedsec.federated.selectors.reservoir import weighted_reservoir
from fedsec.federated.selectors.shapley_weighted import ShapleyWeighted
from fedsec.federated.selectors.tifl import Tifl

__all__ = [
    "SELECTORS",
    "Always",
    "FedEmd",
    "FedFast",
    "Never",
    "Oort",
    "PowerOfChoice",
    "RandomSelector",
    "ShapleyWeighted",
    "Tifl",
    "selector",
    "weighted_reservoir",
]

SELECTORS: dict[str, type[Any]] = {
    "random": RandomSelector,
    "fedemd": FedEmd,
    "shapley-weighted": ShapleyWeighted,
    "tifl": Tifl,
    "fedfast": FedFast,
    "power-of-choice": PowerOfChoice,
    "oort": Oort,
    "always": Always,
    "never": Never,
}


def selector(name: str, **settings: Any) -> Any:
    """The selector of this name with these settings, defaults for the rest.

    Raises SettingsError for an unknown name or setting, one that is missing, or out of range.
    """
    if name not in SELECTORS:
        raise SettingsError(f"selector {name!r} is not one of {', '.join(SELECTORS)}")
    rule = SELECTORS[name]
    known = {field.name: field.default for field in fields(rule)}
    unknown = [setting for setting in settings if setting not in known]
    if unknown:
        has = f"it has {', '.join(known)}" if known else "it has none"
        raise SettingsError(f"{name} has no setting {unknown[0]!r}: {has}")
    missing = [
        setting for setting in known if known[setting] is MISSING and setting not in settings
    ]
    if missing:
        raise SettingsError(f"{name} needs the setting {missing[0]!r}")
    return rule(**settings)
