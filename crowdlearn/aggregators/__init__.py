"""The methods a user picks. `AGGREGATORS` names them; `aggregator(name)` makes one.

Every method is a frozen dataclass of settings with
`fit(votes, *, gold=None, on_sweep=None) -> Aggregation`. Its class constants are `name`, the name
in the table, and `random`, whether its posterior depends on `seed`.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from crowdlearn.aggregators.bcc import Bcc
from crowdlearn.aggregators.bcc_gibbs import BccGibbs
from crowdlearn.aggregators.dawid_skene import DawidSkene
from crowdlearn.aggregators.ebcc import Ebcc
from crowdlearn.aggregators.idbla import FixedIdbla, Idbla
from crowdlearn.aggregators.idbla_factorised import FixedIdblaFactorised, IdblaFactorised
from crowdlearn.aggregators.idbla_gibbs import FixedIdblaGibbs, IdblaGibbs
from crowdlearn.aggregators.majority import MajorityVote
from crowdlearn.aggregators.one_coin import OneCoin
from crowdlearn.aggregators.wawa import Wawa
from crowdlearn.errors import SettingsError

AGGREGATORS: dict[str, type[Any]] = {
    "majority": MajorityVote,
    "wawa": Wawa,
    "dawid-skene": DawidSkene,
    "one-coin": OneCoin,
    "bcc": Bcc,
    "bcc-gibbs": BccGibbs,
    "ebcc": Ebcc,
    "idbla": Idbla,
    "idbla-factorised": IdblaFactorised,
    "idbla-gibbs": IdblaGibbs,
    "fixed-idbla": FixedIdbla,
    "fixed-idbla-factorised": FixedIdblaFactorised,
    "fixed-idbla-gibbs": FixedIdblaGibbs,
}


def aggregator(name: str, **settings: Any) -> Any:
    """The method of this name with these settings, defaults for the rest.

    Raises SettingsError for an unknown name or setting, or a setting out of range.
    """
    if name not in AGGREGATORS:
        raise SettingsError(f"method {name!r} is not one of {', '.join(AGGREGATORS)}")
    method = AGGREGATORS[name]
    known = [field.name for field in fields(method)]
    unknown = [setting for setting in settings if setting not in known]
    if unknown:
        raise SettingsError(f"{name} has no setting {unknown[0]!r}: it has {', '.join(known)}")
    return method(**settings)
