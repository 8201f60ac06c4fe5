"""Calibrated: honest where votes are dependent, as good as Bayes where they are not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from crowdlearn.aggregators import aggregator
from crowdlearn.evaluation import ece, log_loss
from crowdlearn.votes import Votes

World = tuple[Votes, np.ndarray]
pytestmark = pytest.mark.filterwarnings("ignore::crowdlearn.errors.ConvergenceWarning")


def crowd(shared: float, seed: int) -> World:
    """1000 items, 12 workers of 70 % who share an item's cause with probability `shared`."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, 1000)
    own, common = rng.random((1000, 12)) < 0.7, rng.random((1000, 1)) < 0.7
    right = np.where(rng.random((1000, 12)) < shared, common, own)
    label = np.where(right, truth[:, None], 1 - truth[:, None]).ravel()
    item, worker = np.repeat(np.arange(1000), 12), np.tile(np.arange(12), 1000)
    return Votes.from_codes(item, worker, label), truth


def test_independent_votes_lose_nothing() -> None:
    votes, truth = crowd(0.0, seed=0)
    fit = aggregator("calibrated").fit(votes)
    assert log_loss(fit.posterior, truth) < 1.1 * log_loss(
        aggregator("bcc").fit(votes).posterior, truth
    )


@pytest.mark.parametrize("seed", range(3))
def test_votes_with_shared_causes_are_not_taken_for_more_than_they_are(seed: int) -> None:
    """An error that nearly all share looks like agreement: doubt can grow, not become exact."""
    votes, truth = crowd(0.6, seed)
    bayes, honest = (aggregator(name).fit(votes).posterior for name in ("bcc", "calibrated"))
    assert log_loss(honest, truth) < 0.7 * log_loss(bayes, truth)
    assert ece(honest, truth) < ece(bayes, truth) - 0.03


def test_the_same_on_public_votes(shared: Callable[[str], World]) -> None:
    for name in ("bluebird", "flowers", "temp", "dog"):
        votes, truth = shared(name)
        bayes, honest = (aggregator(m).fit(votes).posterior for m in ("bcc", "calibrated"))
        assert log_loss(honest, truth) < 0.6 * log_loss(bayes, truth)


def test_the_intervals_of_workers_hold_more_doubt_than_those_of_bcc() -> None:
    votes, _ = crowd(0.6, seed=1)
    wide, narrow = (aggregator(m).fit(votes).worker_accuracy for m in ("calibrated", "bcc"))
    assert ((wide.high - wide.low) > (narrow.high - narrow.low)).mean() > 0.9
