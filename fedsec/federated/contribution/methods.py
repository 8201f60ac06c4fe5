"""All methods by name: those for one round, and those for a whole training."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from fedsec.errors import SettingsError
from fedsec.federated.contribution.completed import ComFedSV, SampledComFedSV
from fedsec.federated.contribution.exact import Exact
from fedsec.federated.contribution.gtg import Gtg
from fedsec.federated.contribution.leave_one_out import LeaveOneOut
from fedsec.federated.contribution.monte_carlo import MonteCarlo
from fedsec.federated.contribution.moving_average import ShapleyFL
from fedsec.federated.contribution.per_round import FedSV

CONTRIBUTIONS: dict[str, type[Any]] = {
    "exact": Exact,
    "monte-carlo": MonteCarlo,
    "gtg": Gtg,
    "leave-one-out": LeaveOneOut,
}

OVER_ROUNDS: dict[str, type[Any]] = {
    "fedsv": FedSV,
    "comfedsv": ComFedSV,
    "comfedsv-sampled": SampledComFedSV,
    "shapleyfl": ShapleyFL,
}


def contribution_method(name: str, **settings: Any) -> Any:
    """The method of this name with these settings, defaults for the rest.

    Raises SettingsError for an unknown name or setting, or a setting out of range.
    """
    known = {**CONTRIBUTIONS, **OVER_ROUNDS}
    if name not in known:
        raise SettingsError(f"contribution {name!r} is not one of {', '.join(known)}")
    has = [field.name for field in fields(known[name])]
    unknown = [setting for setting in settings if setting not in has]
    if unknown:
        raise SettingsError(
            f"{name} has no setting {unknown[0]!r}: it has {', '.join(has) or 'none'}"
        )
    return known[name](**settings)
