"""How a story is to be inverted: the settings of each engine of `Bayes`. `ENGINES` names them.

NUTS and SVI take any story. Gibbs sampling and coordinate ascent (CAVI) are the fast methods of
this package, for the stories that have them. SVI in Pyro takes the stories that have a twin there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from crowdlearn.aggregators.settings import check_settings
from crowdlearn.errors import SettingsError

CHAIN_METHODS = ("vectorized", "parallel", "sequential")
GUIDES = ("normal", "multivariate", "lowrank", "delta")


@dataclass(frozen=True, kw_only=True)
class Nuts:
    """The No-U-Turn sampler. More warm-up where chains disagree, a higher `target_accept` where
    transitions diverge, a larger `max_tree_depth` where trajectories are cut short.

    `chain_method` "vectorized" moves all chains in one compiled step, "parallel" each on a thread,
    "sequential" one after the other.
    """

    name: ClassVar[str] = "nuts"

    n_chains: int = 4
    n_warmup: int = 500
    n_draws: int = 500
    target_accept: float = 0.8
    max_tree_depth: int = 10
    chain_method: str = "vectorized"

    def __post_init__(self) -> None:
        check_settings(self)
        _one_of("chain_method", self.chain_method, CHAIN_METHODS)


@dataclass(frozen=True, kw_only=True)
class Svi:
    """Variational inference by Adam. `guide` is the family on the unconstrained parameters:
    "normal" (independent), "multivariate", "lowrank", or "delta" (a point: no intervals).

    `batch_items` 0 takes all items at every step; `n_draws` are drawn from the fitted guide.
    """

    name: ClassVar[str] = "svi"

    guide: str = "normal"
    n_steps: int = 2000
    batch_items: int = 0
    learning_rate: float = 0.05
    n_draws: int = 500

    def __post_init__(self) -> None:
        check_settings(self)
        _one_of("guide", self.guide, GUIDES)


@dataclass(frozen=True, kw_only=True)
class SviPyro:
    """Variational inference of the story's twin in Pyro, on torch, with a normal guide."""

    name: ClassVar[str] = "svi-pyro"

    n_steps: int = 2000
    batch_items: int = 0
    learning_rate: float = 0.02
    n_draws: int = 500

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, kw_only=True)
class Gibbs:
    """The fast Gibbs sampler of the story."""

    name: ClassVar[str] = "gibbs"

    n_chains: int = 4
    n_warmup: int = 200
    n_draws: int = 1000

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, kw_only=True)
class Cavi:
    """The fast variational method of the story: coordinate ascent."""

    name: ClassVar[str] = "cavi"

    max_sweeps: int = 1000
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        check_settings(self)


Engine = Nuts | Svi | SviPyro | Gibbs | Cavi

ENGINES: dict[str, type[Engine]] = {
    "nuts": Nuts,
    "svi": Svi,
    "svi-pyro": SviPyro,
    "gibbs": Gibbs,
    "cavi": Cavi,
}


def engine_of(inference: Any) -> Engine:
    """The engine that a name, its settings, or its recorded settings stand for.

    Raises SettingsError for an unknown name or setting, or a setting out of range.
    """
    if isinstance(inference, Engine):
        return inference
    given = dict(inference) if isinstance(inference, Mapping) else {"name": inference}
    name = given.pop("name", None)
    if name not in ENGINES:
        raise SettingsError(f"inference {name!r} is not one of {', '.join(ENGINES)}")
    known = [field.name for field in fields(ENGINES[name])]
    unknown = [key for key in given if key not in known]
    if unknown:
        raise SettingsError(f"{name} has no setting {unknown[0]!r}: it has {', '.join(known)}")
    return ENGINES[name](**given)


def _one_of(name: str, value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        raise SettingsError(f"{name} must be one of {', '.join(known)}, not {value!r}")
