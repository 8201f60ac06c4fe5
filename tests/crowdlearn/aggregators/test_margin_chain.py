from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp

from crowdlearn.aggregators import aggregator
from crowdlearn.aggregators.margin_chain import Force, best_rival, draw_weights
from crowdlearn.predictors.weighted import margin_losses, weighted_votes
from crowdlearn.votes import Votes
from tests.crowdlearn.aggregators.oracles import log_dirichlet_multinomial

short_runs = pytest.mark.filterwarnings("ignore::crowdlearn.errors.ConvergenceWarning")


def exact_posterior(votes: Votes, c: float, margin: float, variance: float) -> np.ndarray:
    """Two classes, item 1 known to be 0: truths enumerated, confusions integrated out, weights
    summed over a grid."""
    axis = np.arange(-5, 5.01, 0.25)
    grid = np.stack(np.meshgrid(*[axis] * votes.n_workers, indexing="ij"), axis=-1)
    weight = grid.reshape(-1, votes.n_workers)
    log_weight = -(weight**2).sum(axis=1) / (2 * variance)
    sides = np.zeros((votes.n_items, votes.n_workers))  # votes for class 0 less those for 1
    np.add.at(sides, (votes.item, votes.worker), 1.0 - 2 * votes.label)
    lead = weight @ sides.T  # (grid point, item)
    worlds = [w for w in itertools.product((0, 1), repeat=votes.n_items) if w[1] == 0]
    logs = []
    for world in worlds:
        truth = np.array(world)
        counts = np.zeros((votes.n_workers, 2, 2))
        np.add.at(counts, (votes.worker, truth[votes.item], votes.label), 1)
        losses = np.maximum(margin - lead * (1 - 2 * truth), 0).sum(axis=1)
        logs.append(
            log_dirichlet_multinomial(counts, np.ones((2, 2)))
            + logsumexp(log_weight - 2 * c * losses)
        )
    chance = np.exp(np.array(logs) - logsumexp(logs))
    return chance @ np.array(worlds)  # of class 1


@short_runs
def test_the_chain_draws_from_the_exact_posterior() -> None:
    """The scales, the solved system and the truths together leave the right density alone."""
    label = np.array([1, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0])
    votes = Votes.from_codes(np.repeat(np.arange(4), 3), np.tile(np.arange(3), 4), label)
    exact = exact_posterior(votes, c=0.3, margin=1.5, variance=0.8)
    without = exact_posterior(votes, c=1e-9, margin=1.5, variance=0.8)
    assert np.abs(exact - without).max() > 0.1  # the margin matters here
    settings = {"margin": 1.5, "weight_variance": 0.8, "n_chains": 4, "n_draws": 500}
    method = aggregator("max-margin", strength=0.3, **settings)
    assert_allclose(method.fit(votes, gold={"1": "0"}).posterior[:, 1], exact, atol=0.05)


def test_weights_have_the_mean_and_covariance_of_their_conditional(tiny: Votes) -> None:
    force = Force(strength=0.7, margin=2.0, weight_variance=0.5)
    ahead = np.where(tiny.label == 0, 1.0, -1.0)
    inverse = np.array([0.4, 1.7, 0.9])
    g = np.zeros((3, 3))
    np.add.at(g, (tiny.item, tiny.worker), ahead)
    c = force.strength
    covariance = np.linalg.inv(np.eye(3) / 0.5 + c**2 * g.T @ np.diag(inverse) @ g)
    mean = covariance @ (c * g.T @ (1 + c * 2.0 * inverse))
    rng = np.random.default_rng(0)
    draws = np.stack(
        [draw_weights(tiny, ahead, inverse, np.zeros(3), force, rng) for _ in range(4000)]
    )
    assert_allclose(draws.mean(axis=0), mean, atol=0.04)
    assert_allclose(np.cov(draws.T), covariance, atol=0.03)


def test_conjugate_gradients_solve_what_cholesky_solves(
    world: tuple[Votes, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    votes, truth = world
    ahead = (votes.label == truth[votes.item]) * 1.0 - (votes.label == (truth[votes.item] + 1) % 3)
    inverse = np.random.default_rng(0).gamma(2.0, size=votes.n_items)
    weight, force = np.ones(12), Force(2.0, 3.0, 1.0)
    dense = draw_weights(votes, ahead, inverse, weight, force, np.random.default_rng(1))
    monkeypatch.setattr("crowdlearn.aggregators.margin_chain.MOST_DENSE", 0)
    sparse = draw_weights(votes, ahead, inverse, weight, force, np.random.default_rng(1))
    assert_allclose(sparse, dense, rtol=1e-6)


def test_rivals_and_losses_by_hand() -> None:
    votes = Votes.from_codes(
        np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 0, 1]), np.array([0, 1, 2, 1, 1]), items=3
    )
    weight = np.array([2.0, 0.5, -1.0])
    assert_allclose(weighted_votes(votes, weight), [[2, 0.5, -1], [0, 2.5, 0], [0, 0, 0]])
    rival, lead = best_rival(votes, weight, np.array([0, 0, 2]))
    assert_array_equal(rival[:2], [1, 1])
    assert_allclose(lead, [1.5, -2.5, 0])
    assert_allclose(margin_losses(votes, weight, 1.0), [[0, 2.5, 4], [3.5, 0, 3.5], [1, 1, 1]])
