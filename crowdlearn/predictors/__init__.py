"""How a fitted method reads the votes of an item: what `predict_proba` and `explain` are made of.

A predictor holds the fitted parameters and nothing of the training items. It takes votes that are
coded in the fit's workers and classes. Every predictor is a frozen bag of arrays, so it can be
saved and loaded without pickling; `PREDICTORS` names them.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from crowdlearn.errors import OutputError
from crowdlearn.predictors.base import Predictor
from crowdlearn.predictors.difficulty import (
    AbilityPredictor,
    FactorisedPredictor,
    LogitPredictor,
    MixturePredictor,
)
from crowdlearn.predictors.network import AspectPredictor, ConsensusPredictor, NetworkPredictor
from crowdlearn.predictors.product import DrawsPredictor, ProductPredictor, TemperedPredictor
from crowdlearn.predictors.soft import SoftPredictor
from crowdlearn.predictors.stacked import StackedPredictor
from crowdlearn.predictors.weighted import (
    MarginPredictor,
    SharePredictor,
)
from crowdlearn.sweeps.cuts import CutArray

PREDICTORS = {
    "soft": SoftPredictor,
    "margin": MarginPredictor,
    "logit": LogitPredictor,
    "product": ProductPredictor,
    "draws": DrawsPredictor,
    "mixture": MixturePredictor,
    "factorised": FactorisedPredictor,
    "ability": AbilityPredictor,
    "share": SharePredictor,
    "tempered": TemperedPredictor,
    "stacked": StackedPredictor,
    "network": NetworkPredictor,
    "aspects": AspectPredictor,
    "consensus": ConsensusPredictor,
}


def to_arrays(predictor: Predictor) -> dict[str, Any]:
    """The predictor as named arrays, its kind included; parts get numbers before their names."""
    kind = next((name for name, cls in PREDICTORS.items() if type(predictor) is cls), None)
    if kind is None:
        raise OutputError(
            f"a {type(predictor).__name__} cannot be saved: a network of your own is a torch "
            "module; save its state_dict, or fit with the built-in network"
        )
    arrays: dict[str, Any] = {"kind": np.array(kind)}
    for field in fields(predictor):  # type: ignore[arg-type]
        value = getattr(predictor, field.name)
        if field.name != "parts":
            arrays[field.name] = value if isinstance(value, CutArray) else np.asarray(value)
            continue
        arrays["parts"] = np.array(len(value))
        for number, part in enumerate(value):
            arrays |= {f"{number}.{name}": array for name, array in to_arrays(part).items()}
    return arrays


def from_arrays(arrays: dict[str, np.ndarray]) -> Predictor:
    """The predictor that `to_arrays` took apart."""
    cls = PREDICTORS[str(arrays["kind"])]
    values: dict[str, Any] = {f.name: arrays[f.name] for f in fields(cls)}
    values = {name: int(v) if v.ndim == 0 else v for name, v in values.items()}
    if "parts" in values:
        values["parts"] = tuple(_part(arrays, number) for number in range(values["parts"]))
    return cls(**values)


def _part(arrays: dict[str, np.ndarray], number: int) -> Predictor:
    start = f"{number}."
    return from_arrays({k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)})
