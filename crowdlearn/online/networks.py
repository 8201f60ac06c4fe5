"""Label aggregation networks on a stream: BiLA as published, and the consensus network.

Each batch's items, with all their votes, are trained on for `update_epochs` and then answered by
the guide (or the network). Items that a later batch does not touch keep their answer. Workers and
classes that are new get rows of their own, at their start; nothing else is trained again.
Paper       Hong, Ghiassi, Zhou, Birke and Chen (2021), Online label aggregation: a variational
            Bayesian approach, WWW; protocol of the released code: `init` with the first 1,000 items
            and `init_epochs`, then chunks of 500 from the start of the stream.
Departures  Growth is ours: the released code fixes workers and classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from crowdlearn.aggregation import Aggregation
from crowdlearn.aggregators.bila import Bila
from crowdlearn.aggregators.consensus import Consensus
from crowdlearn.aggregators.outcome import clamped, pick_labels
from crowdlearn.aggregators.settings import check_settings
from crowdlearn.inference.starts import hard_majority
from crowdlearn.online.ledger import Touched
from crowdlearn.online.state import StreamState, Update, empty_ledger
from crowdlearn.votes import Votes


@dataclass(eq=False)
class NetworkState(StreamState):
    """A network in training; `size` is its (workers, classes)."""

    trainer: Any = None
    size: tuple[int, int] = (0, 0)

    def arrays(self) -> dict[str, np.ndarray]:
        kept = super().arrays() | {"size": np.array(self.size)}
        return kept if self.trainer is None else kept | self.trainer.arrays()


class _Streaming:
    """What both networks share: one method makes a model, the rest folds batches into it."""

    init_epochs: int
    update_epochs: int
    seed: int

    def _model(self, votes: Votes, gold: np.ndarray) -> Any:
        """An untrained model for workers and classes coded as these."""
        raise NotImplementedError

    def _trainer(self, votes: Votes, gold: np.ndarray) -> Any:
        from crowdlearn.neural.trainer import Trainer

        return Trainer(self, self._model(votes, gold))

    def init(self, classes: Iterable[str] = (), first: Votes | None = None) -> NetworkState:
        """An empty stream, its network trained on `first` where that is given.

        The votes of `first` are not counted as part of the stream: they may come again.
        """
        state = NetworkState(empty_ledger(classes))
        if first is not None:
            gold = np.full(first.n_items, -1)
            state.ledger.know(first)
            self._make_room(state, first, gold)
        return state

    def update(
        self,
        state: NetworkState,
        votes: Votes | None = None,
        answers: Mapping[str, str | None] | None = None,
    ) -> tuple[NetworkState, Update]:
        """Fold a batch in; see `StreamingBcc.update`."""
        touched = state.ledger.add(votes, answers or {})
        state.grow()
        part = state.ledger.part(touched)
        self._make_room(state, part, touched.gold)
        fitted = state.trainer.update(
            part, touched.gold, self.update_epochs, readout=getattr(self, "readout", "guide")
        )
        posterior = clamped(fitted.predictor.predict(part), touched.gold)
        return state, self._answered(state, touched, posterior)

    def _answered(self, state: NetworkState, touched: Touched, posterior: np.ndarray) -> Update:
        state.tau.data[touched.item] = posterior
        state.n_updates += 1
        return Update(
            items=state.ledger.names(touched.item),
            posterior=posterior,
            labels=pick_labels(posterior, np.random.default_rng([self.seed, state.n_updates])),
            classes=state.classes,
            codes=touched.item,
            sweeps=self.update_epochs,
        )

    def _make_room(self, state: NetworkState, votes: Votes, gold: np.ndarray) -> None:
        """A network for all workers and classes so far, trained first where it is the first."""
        size = (votes.n_workers, votes.n_classes)
        if state.trainer is None:
            state.trainer = self._trainer(votes, gold)
            state.trainer.update(votes, gold, self.init_epochs)
        elif size != state.size:
            larger = self._trainer(votes, gold)
            larger.grow_from(state.trainer, state.size, size)
            state.trainer = larger
        state.size = size

    def restored(self, state: NetworkState, arrays: dict[str, np.ndarray]) -> NetworkState:
        """The state with the network that `arrays` hold, saved by this method."""
        state.size = tuple(int(n) for n in arrays["size"])  # type: ignore[assignment]
        if state.size != (0, 0):
            some = Votes.from_codes(
                np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1, np.int64),
                workers=state.size[0], classes=state.size[1],
            )  # fmt: skip
            state.trainer = self._trainer(some, np.full(1, -1))
            state.trainer.restore(arrays)
        return state


@dataclass(frozen=True, kw_only=True)
class StreamingBila(_Streaming):
    """Settings of BiLA's stream, as released."""

    name: ClassVar[str] = "bila"

    hidden: tuple[int, ...] = (64, 32)
    kl_weight: float = 0.1
    init_epochs: int = 20
    update_epochs: int = 20
    batch_items: int = 50
    learning_rate: float = 1e-4
    clip: float = 1.0
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        check_settings(self)

    def _model(self, votes: Votes, gold: np.ndarray) -> Any:
        from crowdlearn.neural.bila import bila_model

        return bila_model(self, votes, gold)

    def rescore(self, state: NetworkState) -> tuple[NetworkState, Aggregation]:
        """BiLA in batch on all votes; the stream stays as it is."""
        method = Bila(
            hidden=self.hidden, kl_weight=self.kl_weight, n_epochs=self.init_epochs,
            batch_items=self.batch_items, learning_rate=self.learning_rate, clip=self.clip,
            seed=self.seed, device=self.device,
        )  # fmt: skip
        return state, method.fit(state.votes(), gold=state.ledger.gold.live)


@dataclass(frozen=True, kw_only=True)
class StreamingConsensus(_Streaming):
    """Settings of the consensus network on a stream; those of `consensus`, its bag as input."""

    name: ClassVar[str] = "consensus"

    guide: str = "confusion"
    hidden: tuple[int, ...] = (64, 32)
    beta: float = 0.1
    readout: str = "guide"
    init_epochs: int = 20
    update_epochs: int = 20
    batch_items: int = 50
    learning_rate: float = 1e-3
    clip: float = 1.0
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        check_settings(self)
        self._batch()

    def _batch(self) -> Consensus:
        return Consensus(
            guide=self.guide, hidden=self.hidden, encoding="bag", beta=self.beta,
            readout=self.readout, batch_items=self.batch_items, learning_rate=self.learning_rate,
            clip=self.clip, seed=self.seed, device=self.device,
        )  # fmt: skip

    def _model(self, votes: Votes, gold: np.ndarray) -> Any:
        from crowdlearn.neural.fitting import make

        rng = np.random.default_rng([self.seed, 0])
        return make(self._batch(), votes, gold, hard_majority, rng)

    def rescore(self, state: NetworkState) -> tuple[NetworkState, Aggregation]:
        """The batch method on all votes, stopped early; the stream stays as it is."""
        return state, self._batch().fit(state.votes(), gold=state.ledger.gold.live)
