"""The majority on a stream: shares of the votes of each item. The baseline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from crowdlearn.aggregation import Aggregation
from crowdlearn.aggregators.majority import MajorityVote
from crowdlearn.aggregators.outcome import clamped, pick_labels
from crowdlearn.aggregators.settings import check_settings
from crowdlearn.online.state import StreamState, Update, empty_ledger
from crowdlearn.votes import Votes


@dataclass(frozen=True, kw_only=True)
class StreamingMajority:
    """Settings of the majority on a stream."""

    name: ClassVar[str] = "majority"

    seed: int = 0

    def __post_init__(self) -> None:
        check_settings(self)

    def init(self, classes: Iterable[str] = ()) -> StreamState:
        """An empty stream; classes not named come with the votes."""
        return StreamState(empty_ledger(classes))

    def update(
        self,
        state: StreamState,
        votes: Votes | None = None,
        answers: Mapping[str, str | None] | None = None,
    ) -> tuple[StreamState, Update]:
        """Fold a batch in; see `StreamingBcc.update`."""
        touched = state.ledger.add(votes, answers or {})
        state.grow()
        counts = np.zeros((len(touched.item), len(state.classes)))
        np.add.at(counts, (touched.owner, touched.label), 1.0)
        totals = counts.sum(axis=1, keepdims=True)
        shares = np.where(totals > 0, counts / np.maximum(totals, 1), 1 / counts.shape[1])
        posterior = clamped(shares, touched.gold)
        state.tau.data[touched.item] = posterior
        state.n_updates += 1
        return state, Update(
            items=state.ledger.names(touched.item),
            posterior=posterior,
            labels=pick_labels(posterior, np.random.default_rng([self.seed, state.n_updates])),
            classes=state.classes,
            codes=touched.item,
        )

    def rescore(self, state: StreamState) -> tuple[StreamState, Aggregation]:
        """The majority of all votes; the stream stays as it is."""
        fit = MajorityVote(seed=self.seed).fit(state.votes(), gold=state.ledger.gold.live)
        return state, fit
