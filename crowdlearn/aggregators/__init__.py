"""The methods a user picks. `AGGREGATORS` names them; `aggregator(name)` makes one.

Every method is a frozen dataclass of settings with
`fit(votes, *, gold=None, on_sweep=None) -> Aggregation`. Its class constants are `name`, the name
in the table, and `random`, whether its posterior depends on `seed`; one that knows only so many
classes says so by `n_classes`.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from crowdlearn.aggregators.auto import Auto
from crowdlearn.aggregators.bayes import Bayes
from crowdlearn.aggregators.bcc import Bcc
from crowdlearn.aggregators.bcc_gibbs import BccGibbs
from crowdlearn.aggregators.bila import Bila
from crowdlearn.aggregators.calibrated import Calibrated
from crowdlearn.aggregators.cbcc import Cbcc
from crowdlearn.aggregators.consensus import Consensus, ConsensusOneCoin
from crowdlearn.aggregators.dawid_skene import DawidSkene
from crowdlearn.aggregators.ebcc import Ebcc
from crowdlearn.aggregators.glad import Glad
from crowdlearn.aggregators.hierarchical import Hierarchical
from crowdlearn.aggregators.idbla import FixedIdbla, Idbla
from crowdlearn.aggregators.idbla_factorised import FixedIdblaFactorised, IdblaFactorised
from crowdlearn.aggregators.idbla_gibbs import FixedIdblaGibbs, IdblaGibbs
from crowdlearn.aggregators.kos import Kos
from crowdlearn.aggregators.laa import Laa
from crowdlearn.aggregators.m_msr import MMsr
from crowdlearn.aggregators.mace import Mace
from crowdlearn.aggregators.majority import MajorityVote
from crowdlearn.aggregators.max_margin import MaxMargin
from crowdlearn.aggregators.minimax_entropy import MinimaxEntropy
from crowdlearn.aggregators.one_coin import OneCoin
from crowdlearn.aggregators.ordinal import Ordinal
from crowdlearn.aggregators.soft import Soft
from crowdlearn.aggregators.spectral import Spectral
from crowdlearn.aggregators.wawa import Wawa
from crowdlearn.aggregators.zencrowd import ZenCrowd
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
    "minimax-entropy": MinimaxEntropy,
    "kos": Kos,
    "spectral": Spectral,
    "m-msr": MMsr,
    "max-margin": MaxMargin,
    "zencrowd": ZenCrowd,
    "glad": Glad,
    "mace": Mace,
    "cbcc": Cbcc,
    "hierarchical": Hierarchical,
    "ordinal": Ordinal,
    "soft": Soft,
    "consensus": Consensus,
    "consensus-onecoin": ConsensusOneCoin,
    "bila": Bila,
    "laa": Laa,
    "calibrated": Calibrated,
    "auto": Auto,
    "bayes": Bayes,
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
