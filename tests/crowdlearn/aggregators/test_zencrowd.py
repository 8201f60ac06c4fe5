from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_allclose

from crowdlearn.aggregators import aggregator
from crowdlearn.errors import SettingsError
from crowdlearn.evaluation import error
from crowdlearn.votes import Votes
from tests.crowdlearn.aggregators.test_idbla import web_of_76_workers

Shared = Callable[[str], tuple[Votes, np.ndarray]]
SURVEY = {"max_sweeps": 20}
short_runs = pytest.mark.filterwarnings("ignore::crowdlearn.errors.ConvergenceWarning")


def evidence(votes: Votes, reliability: np.ndarray) -> np.ndarray:
    """Joint probability of an item's votes and each class, vote by vote."""
    n_classes = votes.n_classes
    joint = np.full((votes.n_items, n_classes), 1 / n_classes)
    for i, w, c in zip(votes.item, votes.worker, votes.label, strict=True):
        wrong = (1 - reliability[w]) / (n_classes - 1)
        joint[i] *= np.where(np.arange(n_classes) == c, reliability[w], wrong)
    return joint


@short_runs
def test_the_first_sweep_reads_everybody_alike(tiny: Votes) -> None:
    fit = aggregator("zencrowd", max_sweeps=1, reliability=0.7).fit(tiny)
    joint = evidence(tiny, np.full(3, 0.7))
    assert_allclose(fit.posterior, joint / joint.sum(axis=1, keepdims=True), rtol=1e-12)
    assert_allclose(fit.history.bound, [np.log(joint.sum(axis=1)).sum()], rtol=1e-12)


def test_at_rest_reliability_is_the_share_of_right_votes(world: tuple[Votes, np.ndarray]) -> None:
    votes, _ = world
    fit = aggregator("zencrowd", tolerance=1e-11).fit(votes)
    right = np.bincount(votes.worker, fit.posterior[votes.item, votes.label])
    reliability = right / votes.votes_per_worker
    assert_allclose(fit.confusion[:, 0, 0], reliability, atol=1e-8)
    joint = evidence(votes, reliability)
    assert_allclose(fit.posterior, joint / joint.sum(axis=1, keepdims=True), atol=1e-8)
    assert_allclose(fit.history.bound[-1], np.log(joint.sum(axis=1)).sum(), rtol=1e-9)


def test_where_classes_are_balanced_one_coin_is_the_same() -> None:
    """Every item again with its classes exchanged: the prior that one-coin learns is uniform."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 200)
    item, worker = np.repeat(np.arange(200), 5), np.tile(np.arange(5), 200)
    ability = np.array([0.8, 0.75, 0.75, 0.7, 0.6])
    label = np.where(rng.random(1000) < ability[worker], truth[item], 1 - truth[item])
    votes = Votes.from_codes(
        np.concatenate([item, item + 200]),
        np.concatenate([worker, worker]),
        np.concatenate([label, 1 - label]),
    )
    ours = aggregator("zencrowd", tolerance=1e-10).fit(votes)
    coin = aggregator("one-coin", pseudocount=0.0, tolerance=1e-10).fit(votes)
    assert_allclose(coin.prior, 0.5, atol=1e-9)
    assert_allclose(ours.posterior, coin.posterior, atol=1e-7)


@short_runs
@pytest.mark.parametrize(
    ("name", "published", "tolerance"),
    [("rte", 7.50, 0.05), ("bluebird", 27.78, 0.05), ("dog", 16.98, 0.05), ("flowers", 15.0, 0.05)],
)
def test_the_rows_of_an_independent_program(
    name: str, published: float, tolerance: float, shared: Shared
) -> None:
    """Error rates in per cent of another implementation, 20 sweeps from a reliability of 0.8."""
    votes, truth = shared(name)
    fit = aggregator("zencrowd", **SURVEY).fit(votes)
    assert abs(100 * error(fit.posterior, truth) - published) < tolerance


@short_runs
def test_the_web_row_of_an_independent_program(shared: Shared) -> None:
    votes, truth = web_of_76_workers(*shared("web"))
    fit = aggregator("zencrowd", **SURVEY).fit(votes)
    assert abs(100 * error(fit.posterior, truth) - 14.93) < 0.1


@pytest.mark.parametrize("reliability", [0.0, 1.0, 1.5])
def test_certain_workers_are_refused(reliability: float) -> None:
    with pytest.raises(SettingsError, match="reliability must be between 0 and 1"):
        aggregator("zencrowd", reliability=reliability)
