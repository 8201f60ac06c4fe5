"""FedEMD: first those whose labels are unlike all labels, later those unlike what was seen.

Story           A Maverick owns a class that nobody else has, so its label distribution is far from
                that of all data, D_g. Early it should be chosen more often than others: its class
                is learned. Late it should not be: its large update disturbs what is learned.
Rule            Proba(t) = softmax(alpha * d(D_g, D_i) - (t - 1) * beta * d(D_c, D_i)), where D_c
                are the labels of the clients of all rounds so far, those refused too; then a
                weighted choice without replacement. The two terms balance near round alpha / beta:
                half of the rounds to come is a good place for it.
Paper           FedEMD (arXiv 2106.10734v1), algorithm 1; alpha and beta as recommended there for
                MNIST and Fashion-MNIST over 200 rounds.
Reconstructed   The distance and its normalisation (see `fedsec.federated.distances`). The first
                round has no D_c: its probabilities are softmax(alpha * d(D_g, D_i)). D_c holds the
                round before, where the listing adds it one round later.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import numpy as np
from jaxtyping import Float, Int64
from scipy.special import softmax

from fedsec.errors import SettingsError
from fedsec.federated.distances import (
    DISTANCES,
    NORMS,
    Distance,
    Norm,
    by_class_count,
    l1,
)
from fedsec.federated.rounds import View
from fedsec.federated.selectors.checks import check_settings, check_view
from fedsec.federated.selectors.reservoir import weighted_reservoir

Rule = TypeVar("Rule")


@dataclass(frozen=True, kw_only=True)
class FedEmd:
    """Weighted choice by label distance to all data and, ever more, to the data seen so far.

    alpha      weight of the distance to all data, at least 0
    beta       weight of the distance to the data seen, per round, at least 0
    distance   a name in DISTANCES, or a function such as `w1_matrix(cost)`
    norm       a name in NORMS, or a function
    """

    needs_contribution: ClassVar[bool] = False
    needs_probe: ClassVar[bool] = False

    alpha: float = 0.15
    beta: float = 0.0015
    distance: str | Distance = "l1"
    norm: str | Norm = "mean"

    def __post_init__(self) -> None:
        check_settings(self, alpha=(0, math.inf), beta=(0, math.inf))
        distance = _named("distance", DISTANCES, self.distance)
        norm = _named("norm", NORMS, self.norm)
        if norm is by_class_count and distance is not l1:
            raise SettingsError("norm class_count goes with distance l1 alone: take norm mean")

    def __call__(self, view: View, rng: np.random.Generator) -> Int64[np.ndarray, " chosen"]:
        """The ids. Raises SettingsError for more clients than there are, DataError as below."""
        check_view(view)
        return weighted_reservoir(self.probabilities(view), view.per_round, rng)

    def probabilities(self, view: View) -> Float[np.ndarray, " client"]:
        """Of being drawn first in the round to come; sums to 1. DataError for an empty client."""
        score = self.alpha * self._far(view, view.counts.sum(axis=0))
        if view.rounds:
            seen = view.times_chosen() @ view.counts
            score = score - (view.number - 1) * self.beta * self._far(view, seen)
        found: np.ndarray = softmax(score)
        return found

    def _far(self, view: View, labels: Int64[np.ndarray, " class"]) -> Float[np.ndarray, " client"]:
        distance = _named("distance", DISTANCES, self.distance)
        return _named("norm", NORMS, self.norm)(distance, view.counts, labels)


def _named(kind: str, table: Mapping[str, Rule], rule: str | Rule) -> Rule:
    if not isinstance(rule, str):
        return rule
    if rule not in table:
        raise SettingsError(f"{kind} {rule!r} is not one of {', '.join(table)}")
    return table[rule]
