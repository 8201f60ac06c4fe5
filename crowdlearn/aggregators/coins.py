"""The result of methods that learn one ability a worker, and answer by the votes' log odds."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int32

from crowdlearn.aggregation import Aggregation, History
from crowdlearn.aggregators.outcome import beta_interval, by_truth, conclude
from crowdlearn.predictors import ProductPredictor
from crowdlearn.sweeps.tables import error_table
from crowdlearn.votes import Votes


def coin_predictor(ability: Float[np.ndarray, " worker"], n_classes: int) -> ProductPredictor:
    """Reads votes of workers who are right with probability `ability`; classes equally likely."""
    table = error_table(ability, n_classes).reshape(-1, n_classes, n_classes)
    return ProductPredictor(np.full(n_classes, 1 / n_classes), table, np.arange(n_classes))


def conclude_coins(
    method: Any,
    votes: Votes,
    gold: Int32[np.ndarray, " item"],
    posterior: Float[np.ndarray, "item class"],
    ability: Float[np.ndarray, " worker"],
    history: History,
    started: float,
    findings: tuple[str, ...] = (),
) -> Aggregation:
    """A result whose intervals count votes against `posterior`, a vote's worth of doubt each."""
    agreed = posterior[votes.item, votes.label]
    right = np.bincount(votes.worker, agreed, minlength=votes.n_workers) + 1 / 2
    size = votes.votes_per_worker + 1
    predictor = coin_predictor(ability, votes.n_classes)
    return conclude(
        method,
        votes,
        gold=gold,
        posterior=posterior,
        prior=posterior.mean(axis=0),
        confusion=by_truth(np.asarray(predictor.likelihood).ravel(), votes),
        worker_accuracy=beta_interval(
            right / size, right * (size - right) / (size**2 * (size + 1))
        ),
        history=history,
        predictor=predictor,
        started=started,
        findings=findings,
    )
