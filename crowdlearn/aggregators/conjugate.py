"""The fast methods of a story: which aggregator inverts it by Gibbs sampling or coordinate ascent.

A story's hyperparameters become the settings of the aggregator. Dawid-Skene with its flat priors is
BCC with equal counts.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any

from crowdlearn.aggregators.engines import Cavi, Gibbs
from crowdlearn.errors import SettingsError

Parameters = dict[str, Any]


def _same(parameters: Parameters) -> Parameters:
    return parameters


def _flat(parameters: Parameters) -> Parameters:
    return {n: parameters["count"] for n in ("prior_count", "off_diagonal", "diagonal")}


def _without_prior(parameters: Parameters) -> Parameters:
    """EBCC by ascent takes the vote shares as the counts of its class prior."""
    return {name: value for name, value in parameters.items() if name != "prior_count"}


GIBBS: dict[str, tuple[str, Callable[[Parameters], Parameters]]] = {
    "dawid-skene": ("bcc-gibbs", _flat),
    "bcc": ("bcc-gibbs", _same),
    "bcc-hyper": ("hierarchical", _same),
    "cbcc": ("cbcc", _same),
    "idbla": ("idbla-gibbs", _same),
    "fixed-idbla": ("fixed-idbla-gibbs", _same),
}
"""Story -> the method that draws from its posterior, and how its settings are named."""

CAVI: dict[str, tuple[str, Callable[[Parameters], Parameters]]] = {
    "dawid-skene": ("bcc", _flat),
    "bcc": ("bcc", _same),
    "ebcc": ("ebcc", _without_prior),
    "idbla": ("idbla", _same),
    "fixed-idbla": ("fixed-idbla", _same),
}
"""Story -> the method that ascends its evidence lower bound."""


def fast_method(
    story: str, parameters: Parameters, engine: Gibbs | Cavi, shared: Parameters
) -> Any:
    """The aggregator of this story with these hyperparameters; `shared` are seed, device, threads.

    Raises SettingsError where the story has none.
    """
    from crowdlearn.aggregators import AGGREGATORS, aggregator
    from crowdlearn.models import STORIES

    table = GIBBS if isinstance(engine, Gibbs) else CAVI
    if story not in table:
        raise SettingsError(
            f"story {story!r} cannot be inverted by {engine.name}: these can: {', '.join(table)}; "
            "nuts and svi take any story"
        )
    if story == "ebcc" and "prior_count" in parameters:
        raise SettingsError(
            "ebcc by cavi takes the vote shares as the counts of its class prior: leave out "
            "prior_count, or choose nuts or svi"
        )
    signature = inspect.signature(STORIES[story]).parameters
    whole = {n: p.default for n, p in signature.items() if p.default is not p.empty} | parameters
    unknown = [key for key in parameters if key not in signature]
    if unknown:
        raise SettingsError(
            f"story {story!r} has no hyperparameter {unknown[0]!r}: it has {', '.join(whole)}"
        )
    name, rename = table[story]
    kinds = {field.name: field.type for field in fields(AGGREGATORS[name])}
    settings = {
        key: float(value) if kinds.get(key) == "float" and type(value) is int else value
        for key, value in rename(whole).items()
    }
    return aggregator(name, **settings, **asdict(engine), **shared)
