"""Wawa, worker agreement with the aggregate: votes weighted by how often their worker agrees.

Story       None. A worker's weight is the share of their votes that agree with the majority label.
Inference   Two passes: majority vote, then the vote weighted by agreement.
Source      Appen's documentation of its confidence score; named and popularised by crowd-kit.
Departures  A vote for one of m tied majority classes counts 1/m, where others draw one of them; on
            gold items agreement is with the gold answer.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from crowdlearn.aggregation import Aggregation, OnSweep
from crowdlearn.aggregators.outcome import TIE, clamped
from crowdlearn.aggregators.settings import check_settings
from crowdlearn.aggregators.shares import conclude_shares
from crowdlearn.gold import gold_codes
from crowdlearn.predictors import SharePredictor
from crowdlearn.votes import Votes


@dataclass(frozen=True, kw_only=True)
class Wawa:
    """Settings of Wawa."""

    name: ClassVar[str] = "wawa"
    random: ClassVar[bool] = False

    seed: int = 0  # of the labels of tied items

    def __post_init__(self) -> None:
        check_settings(self)

    def fit(
        self, votes: Votes, *, gold: Any = None, on_sweep: OnSweep | None = None
    ) -> Aggregation:
        """Shares of the weighted votes; see `Aggregation`."""
        started = time.perf_counter()
        known = gold_codes(votes, gold)
        weight = agreement(votes, clamped(votes.shares(), known))
        posterior = clamped(SharePredictor(weight).predict(votes), known)
        return conclude_shares(self, votes, known, posterior, weight, started)


def agreement(
    votes: Votes, posterior: Float[np.ndarray, "item class"]
) -> Float[np.ndarray, " worker"]:
    """Share of each worker's votes for the most probable class, ties counting in part."""
    best = posterior >= posterior.max(axis=1, keepdims=True) - TIE
    credit = (best / best.sum(axis=1, keepdims=True))[votes.item, votes.label]
    agreed = np.bincount(votes.worker, credit, minlength=votes.n_workers)
    return agreed / np.maximum(votes.votes_per_worker, 1)
