"""The result of methods that weigh votes and add them up, where no story gives confusions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from jaxtyping import Float, Int32

from crowdlearn.aggregation import Aggregation, History
from crowdlearn.aggregators.outcome import conclude, dirichlet_accuracy
from crowdlearn.predictors import SharePredictor
from crowdlearn.votes import Votes


def conclude_shares(
    method: Any,
    votes: Votes,
    gold: Int32[np.ndarray, " item"],
    posterior: Float[np.ndarray, "item class"],
    weight: Float[np.ndarray, " worker"],
    started: float,
) -> Aggregation:
    """A result with confusions counted against `posterior`, one vote's worth of doubt a row."""
    n_classes = votes.n_classes
    alpha = np.full((votes.n_workers * n_classes, n_classes), 1 / n_classes)  # (worker, label) rows
    np.add.at(alpha, votes.worker.astype(np.int64) * n_classes + votes.label, posterior[votes.item])
    cube = alpha.reshape(votes.n_workers, n_classes, n_classes)
    prior = posterior.mean(axis=0)
    history = History(
        bound=np.array([math.nan]), change=np.array([0.0]), bound_name="none", converged=True
    )
    return conclude(
        method,
        votes,
        gold=gold,
        posterior=posterior,
        prior=prior,
        confusion=(cube / cube.sum(axis=1, keepdims=True)).transpose(0, 2, 1),
        worker_accuracy=dirichlet_accuracy(cube, prior),
        history=history,
        predictor=SharePredictor(weight),
        started=started,
    )
