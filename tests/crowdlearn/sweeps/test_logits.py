from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import check_grad, minimize
from scipy.special import log_softmax

from crowdlearn.sweeps.logits import Side, read_items
from crowdlearn.sweeps.pool import Pool
from crowdlearn.votes import Votes

POOL = Pool(1)
PENALTIES = {"items": 0.7, "workers": 0.3}


@pytest.fixture
def small() -> tuple[Votes, np.ndarray]:
    """Votes of 5 workers on 8 items, 3 classes, with weights for the classes of each item."""
    rng = np.random.default_rng(0)
    votes = Votes.from_codes(
        rng.integers(0, 8, 40), rng.integers(0, 5, 40), rng.integers(0, 3, 40),
        items=8, workers=5, classes=3,
    )  # fmt: skip
    return votes, rng.dirichlet(np.ones(3), size=8)


def objective(
    votes: Votes, weight: np.ndarray, items: np.ndarray, workers: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """What the M-step maximises, over all scores at once, and its gradient."""
    logs = log_softmax(items[votes.item] + workers[votes.worker], axis=2)  # (vote, class, label)
    value = (weight[votes.item] * logs[np.arange(votes.n_votes), :, votes.label]).sum()
    value -= PENALTIES["items"] / 2 * (items**2).sum()
    value -= PENALTIES["workers"] / 2 * (workers**2).sum()
    excess = weight[votes.item][:, :, None] * (
        np.eye(votes.n_classes)[votes.label][:, None] - np.exp(logs)
    )
    for_items, for_workers = -PENALTIES["items"] * items, -PENALTIES["workers"] * workers
    np.add.at(for_items, votes.item, excess)
    np.add.at(for_workers, votes.worker, excess)
    return float(value), for_items, for_workers


def test_the_blocks_climb_to_the_maximum_that_lbfgs_finds(small: tuple[Votes, np.ndarray]) -> None:
    votes, weight = small
    split = votes.n_items * 9

    def negative(x: np.ndarray) -> tuple[float, np.ndarray]:
        items, workers = x[:split].reshape(-1, 3, 3), x[split:].reshape(-1, 3, 3)
        value, *gradient = objective(votes, weight, items, workers)
        return -value, -np.concatenate([g.ravel() for g in gradient])

    x = np.random.default_rng(1).normal(size=split + 45)
    assert check_grad(lambda x: negative(x)[0], lambda x: negative(x)[1], x) < 1e-5
    found = minimize(negative, np.zeros_like(x), jac=True, method="L-BFGS-B",
                     options={"maxiter": 2000, "ftol": 1e-15, "gtol": 1e-9})  # fmt: skip
    items, workers = np.zeros((8, 3, 3)), np.zeros((5, 3, 3))
    values = []
    for _ in range(200):
        Side.of_items(votes).climb(weight, items, workers, PENALTIES["items"], POOL)
        Side.of_workers(votes).climb(weight, workers, items, PENALTIES["workers"], POOL)
        values.append(objective(votes, weight, items, workers)[0])
    assert np.diff(values).min() > -1e-10
    assert_allclose(values[-1], -found.fun, rtol=1e-9)
    assert_allclose(np.concatenate([items.ravel(), workers.ravel()]), found.x, atol=1e-4)


def test_a_step_far_from_the_maximum_still_climbs(small: tuple[Votes, np.ndarray]) -> None:
    votes, weight = small
    rng = np.random.default_rng(2)
    items, workers = rng.normal(size=(8, 3, 3)) * 30, rng.normal(size=(5, 3, 3)) * 30
    before = objective(votes, weight, items, workers)[0]
    Side.of_workers(votes).climb(weight, workers, items, PENALTIES["workers"], POOL)
    assert objective(votes, weight, items, workers)[0] > before


def test_items_are_read_by_the_product_of_their_votes(small: tuple[Votes, np.ndarray]) -> None:
    votes, posterior = small
    rng = np.random.default_rng(3)
    items, workers = rng.normal(size=(8, 3, 3)), rng.normal(size=(5, 3, 3))
    gold = np.where(np.arange(8) == 1, 2, -1).astype(np.int32)
    logs = log_softmax(items[votes.item] + workers[votes.worker], axis=2)
    joint = np.full((8, 3), -np.log(3))
    np.add.at(joint, votes.item, logs[np.arange(votes.n_votes), :, votes.label])
    bound = np.where(gold >= 0, joint[:, 2], np.logaddexp.reduce(joint, axis=1)).sum()
    expected = np.exp(joint - np.logaddexp.reduce(joint, axis=1)[:, None])
    expected[1] = posterior[1] = [0, 0, 1]
    start = posterior.copy()
    found = read_items(Side.of_items(votes), gold, items, workers, posterior, POOL)
    assert_allclose(posterior, expected, atol=1e-12)
    assert_allclose(found, (bound, np.abs(expected - start).max()), rtol=1e-12)
