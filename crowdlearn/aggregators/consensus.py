"""Consensus: a network reads all votes of an item, guided by a model of the workers.

Story       The guide's: prior p(t); label[v] ~ confusion[worker[v], truth[item[v]]], the rows free
            (`guide="confusion"`) or one ability a worker (`guide="one-coin"`). Points, no priors.
Inference   Mini-batches of items; the loss is the consensus of network and guide, see
            `neural/consensus.py`. `prior` is the share of each label among all votes, or uniform.
            The answer is the guide's posterior with all classes equally likely, or the network's.
Paper       Hong and Zhou (2018), Label aggregation via finding consensus between models, arXiv
            1807.07291v1: a network, a guiding model, their consensus as loss, mini-batches, two
            guides.
Departures  The paper's formulas are not public: layers, loss, `beta`, start and optimiser are
            reconstructed from its successor's released code (BiLA). Early stopping by votes left
            out is ours (`neural/training.py`), and so is the first layer that sums one row a vote.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int

from crowdlearn.aggregation import Aggregation, OnSweep
from crowdlearn.aggregators.outcome import clamped, conclude, dirichlet_accuracy
from crowdlearn.aggregators.settings import check_settings
from crowdlearn.errors import SettingsError
from crowdlearn.gold import gold_codes
from crowdlearn.inference.starts import Start, hard_majority
from crowdlearn.votes import Votes

LABEL_SHARES, UNIFORM = "label-shares", "uniform"


@dataclass(frozen=True, kw_only=True)
class Consensus:
    """Settings of consensus; `guide` and `network` may be makers of one's own.

    guide: (votes, start posterior) -> torch module that is a `neural.guides.Guide`.
    network: (n_workers, n_classes) -> torch module from `ItemVotes` to logits (item, class).
    """

    name: ClassVar[str] = "consensus"
    random: ClassVar[bool] = True

    guide: str | Callable[..., Any] = "confusion"
    network: Callable[..., Any] | None = None
    hidden: tuple[int, ...] = (64, 32)
    encoding: str = "auto"
    beta: float = 0.1
    prior: str = LABEL_SHARES
    readout: str = "guide"
    start: Start = hard_majority
    n_epochs: int = 1000
    patience: int = 20
    n_errors: float = 1.0
    left_out: float = 0.1
    batch_items: int = 50
    learning_rate: float = 1e-3
    clip: float = 1.0
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        check_settings(self)
        if self.left_out >= 1:
            raise SettingsError(f"left_out must be below 1, not {self.left_out!r}")
        for name, known in (
            ("prior", (LABEL_SHARES, UNIFORM)),
            ("readout", ("guide", "network")),
            ("encoding", ("auto", "bag", "one-hot", "codes")),
        ):
            if getattr(self, name) not in known:
                found = getattr(self, name)
                raise SettingsError(f"{name} must be one of {', '.join(known)}, not {found!r}")
        if isinstance(self.guide, str) and self.guide not in ("confusion", "one-coin"):
            raise SettingsError(f"guide must be confusion, one-coin or a maker: {self.guide!r}")

    def fit(
        self, votes: Votes, *, gold: Any = None, on_sweep: OnSweep | None = None
    ) -> Aggregation:
        """The guide's confusions and the posterior that was asked for.

        `on_sweep` hears of every epoch; stopped early, the best state so far answers. A loss that
        is no number ends training with a warning. Raises SettingsError for a device that is not
        there.
        """
        from crowdlearn.neural.fitting import fit_consensus

        started = time.perf_counter()
        known = gold_codes(votes, gold)
        fitted = fit_consensus(self, votes, known, on_sweep)
        posterior = clamped(fitted.predictor.predict(votes), known)
        return concluded(self, votes, known, posterior, fitted, started)


@dataclass(frozen=True, kw_only=True)
class ConsensusOneCoin(Consensus):
    """Consensus with one ability a worker: for few votes a worker, or many classes."""

    name: ClassVar[str] = "consensus-onecoin"

    guide: str | Callable[..., Any] = "one-coin"


def concluded(
    method: Any,
    votes: Votes,
    known: Int[np.ndarray, " item"],
    posterior: np.ndarray,
    fitted: Any,
    started: float,
) -> Aggregation:
    """The result of a trained network; `fitted` is what `neural` returns.

    A worker's accuracy counts its votes against the posterior, on top of one vote a row that falls
    as the fitted confusion says.
    """
    cell = votes.worker.astype(np.int64) * votes.n_classes + votes.label
    alpha = fitted.confusion.transpose(0, 2, 1).copy()
    flat, item = alpha.reshape(-1, votes.n_classes), votes.item
    for k in range(votes.n_classes):
        flat[:, k] += np.bincount(cell, posterior[item, k], len(flat))
    prior = posterior.mean(axis=0)
    return conclude(
        method,
        votes,
        gold=known,
        posterior=posterior,
        prior=prior / prior.sum(),
        confusion=fitted.confusion,
        worker_accuracy=dirichlet_accuracy(alpha, prior),
        history=fitted.training.history("minus the loss"),
        predictor=fitted.predictor,
        started=started,
        findings=fitted.training.problems,
    )
