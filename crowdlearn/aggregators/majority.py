"""Majority vote: every vote weighs the same.

Story       None: the posterior is the share of an item's votes for each class.
Inference   One pass. Ties stay ties in the posterior; a label among tied classes is drawn by
`seed`. Workers     Confusions are counted against the vote shares, one vote's worth spread over
each row.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from crowdlearn.aggregation import Aggregation, OnSweep
from crowdlearn.aggregators.outcome import clamped
from crowdlearn.aggregators.settings import check_settings
from crowdlearn.aggregators.shares import conclude_shares
from crowdlearn.gold import gold_codes
from crowdlearn.votes import Votes


@dataclass(frozen=True, kw_only=True)
class MajorityVote:
    """Settings of majority vote."""

    name: ClassVar[str] = "majority"
    random: ClassVar[bool] = False

    seed: int = 0  # of the labels of tied items

    def __post_init__(self) -> None:
        check_settings(self)

    def fit(
        self, votes: Votes, *, gold: Any = None, on_sweep: OnSweep | None = None
    ) -> Aggregation:
        """Shares of the votes; see `Aggregation`."""
        started = time.perf_counter()
        known = gold_codes(votes, gold)
        weight = np.ones(votes.n_workers)
        return conclude_shares(self, votes, known, clamped(votes.shares(), known), weight, started)
