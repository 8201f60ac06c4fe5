from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import check_grad
from scipy.special import expit, logsumexp
from scipy.stats import norm, spearmanr

from crowdlearn.aggregators import aggregator
from crowdlearn.aggregators.glad import Climb
from crowdlearn.evaluation import error
from crowdlearn.gold import gold_codes
from crowdlearn.sweeps.ability import AbilitySweeper
from crowdlearn.votes import Votes
from tests.crowdlearn.aggregators.test_idbla import web_of_76_workers

Shared = Callable[[str], tuple[Votes, np.ndarray]]


def log_joint(votes: Votes, ability: np.ndarray, log_easiness: np.ndarray) -> np.ndarray:
    """log p(class, votes) of every item, vote by vote."""
    n_classes = votes.n_classes
    joint = np.full((votes.n_items, n_classes), -np.log(n_classes))
    for i, w, c in zip(votes.item, votes.worker, votes.label, strict=True):
        right = expit(ability[w] * np.exp(log_easiness[i]))
        wrong = (1 - right) / (n_classes - 1)
        joint[i] += np.log(np.where(np.arange(n_classes) == c, right, wrong))
    return joint


def climb_of(votes: Votes, gold: dict[str, str] | None = None) -> Climb:
    return Climb(AbilitySweeper(votes, gold_codes(votes, gold)), 1.5, 0.7)


@pytest.mark.parametrize("gold", [None, {"0": "2", "5": "1"}])
def test_the_height_is_that_of_the_story(
    world: tuple[Votes, np.ndarray], gold: dict[str, str] | None
) -> None:
    votes, _ = world
    climb = climb_of(votes, gold)
    x = np.random.default_rng(0).normal(size=len(climb.start()))
    ability, log_easiness = climb.parameters(x)
    joint = log_joint(votes, ability, log_easiness)
    for item, label in (gold or {}).items():
        joint[int(item), np.arange(3) != int(label)] = -np.inf
    prior = norm.logpdf(ability, 1, 1.5).sum() + norm.logpdf(log_easiness, 1, 0.7).sum()
    constant = norm.logpdf(0, 0, 1.5) * 12 + norm.logpdf(0, 0, 0.7) * 120
    assert_allclose(-climb(x)[0], logsumexp(joint, axis=1).sum() + prior - constant, rtol=1e-12)
    expected = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    assert_allclose(climb.posterior, expected, atol=1e-12)


def test_the_slope_is_that_of_the_height(world: tuple[Votes, np.ndarray]) -> None:
    climb = climb_of(world[0], {"0": "2"})
    for seed in range(3):
        x = np.random.default_rng(seed).normal(size=len(climb.start()))
        assert check_grad(lambda y: climb(y)[0], lambda y: climb(y)[1], x) < 1e-5 * len(x)


def test_a_fit_is_at_the_top(world: tuple[Votes, np.ndarray]) -> None:
    """No slope is left, each easiness is its own best value, and the M step would stay."""
    votes, _ = world
    fit = aggregator("glad", tolerance=1e-10).fit(votes)
    ability = fit.predictor.ability
    log_easiness = -np.log(fit.difficulty / (1 - fit.difficulty))
    right = expit(ability[votes.worker] * np.exp(log_easiness)[votes.item])
    surprise = fit.posterior[votes.item, votes.label] - right
    to_ability = np.bincount(votes.worker, surprise * np.exp(log_easiness)[votes.item])
    to_easiness = np.bincount(votes.item, surprise * ability[votes.worker])
    assert_allclose(to_ability, ability - 1, atol=1e-5)
    assert_allclose(to_easiness * np.exp(log_easiness), log_easiness - 1, atol=1e-5)


def test_abilities_and_difficulties_of_its_own_world_are_found() -> None:
    rng = np.random.default_rng(3)
    ability, log_easiness = rng.normal(1, 1, 40), rng.normal(1, 1, 1000)
    truth = rng.integers(0, 4, 1000)
    item, worker = (a.ravel() for a in np.indices((1000, 40)))
    right = rng.random(40_000) < expit(ability[worker] * np.exp(log_easiness[item]))
    label = np.where(right, truth[item], (truth[item] + rng.integers(1, 4, 40_000)) % 4)
    fit = aggregator("glad").fit(Votes.from_codes(item, worker, label))
    assert (fit.labels == truth).mean() > 0.97
    assert np.corrcoef(fit.predictor.ability, ability)[0, 1] > 0.95
    assert spearmanr(fit.difficulty, -log_easiness).statistic > 0.85
    assert ((fit.difficulty > 0) & (fit.difficulty < 1)).all()


@pytest.mark.parametrize(
    ("name", "published"),
    [("rte", 7.50), ("bluebird", 27.78), ("dog", 16.60), ("flowers", 14.0)],
)
def test_the_rows_of_an_independent_program(name: str, published: float, shared: Shared) -> None:
    """Error rates in per cent of another implementation, by EM."""
    votes, truth = shared(name)
    assert abs(100 * error(aggregator("glad").fit(votes).posterior, truth) - published) < 0.05


def test_the_web_row_of_an_independent_program(shared: Shared) -> None:
    votes, truth = web_of_76_workers(*shared("web"))
    assert abs(100 * error(aggregator("glad").fit(votes).posterior, truth) - 16.43) < 0.5
