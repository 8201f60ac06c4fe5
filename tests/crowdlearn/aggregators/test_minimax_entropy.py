from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_allclose

from crowdlearn.aggregators import aggregator
from crowdlearn.aggregators.minimax_entropy import MinimaxEntropy
from crowdlearn.evaluation import error
from crowdlearn.votes import Votes

Shared = Callable[[str], tuple[Votes, np.ndarray]]


def test_penalties_are_the_published_ones(world: tuple[Votes, np.ndarray]) -> None:
    votes, _ = world
    for_workers, for_items = MinimaxEntropy().penalties(votes)
    assert for_workers == 0.25 * 9
    assert_allclose(for_items, for_workers * (votes.n_votes / 12) / (votes.n_votes / 120))


def test_without_scores_of_items_it_is_dawid_skene_with_equal_classes() -> None:
    """Item scores held at zero and worker scores free: rows are any distribution."""
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 3, 150)
    item, worker = (a.ravel() for a in np.meshgrid(np.arange(150), np.arange(6), indexing="ij"))
    label = np.where(rng.random(900) < 0.65, truth[item], rng.integers(0, 3, 900))
    votes = Votes.from_codes(item, worker, label)
    posterior = votes.shares()
    for _ in range(500):
        counts = np.zeros((6, 3, 3))  # (worker, label, class)
        np.add.at(counts, (votes.worker, votes.label), posterior[votes.item])
        logs = np.log(counts / counts.sum(axis=1, keepdims=True))
        evidence = logs[votes.worker, votes.label].reshape(150, 6, 3).sum(axis=1)
        posterior = np.exp(evidence - np.logaddexp.reduce(evidence, axis=1)[:, None])
    fit = aggregator("minimax-entropy", item_penalty=1e9, worker_penalty=1e-8, tolerance=1e-9).fit(
        votes
    )
    assert_allclose(fit.posterior, posterior, atol=1e-5)


def test_items_that_confuse_everybody_keep_their_doubt() -> None:
    """Half of the items are mostly called 1 whatever they are: item scores take that up."""
    rng = np.random.default_rng(0)
    truth = np.arange(60) % 2
    odd = np.arange(60) >= 30
    item, worker = (a.ravel() for a in np.meshgrid(np.arange(60), np.arange(8), indexing="ij"))
    right = np.where(odd[item] & (truth[item] == 0), 0.35, 0.9)
    label = np.where(rng.random(480) < right, truth[item], 1 - truth[item])
    votes = Votes.from_codes(item, worker, label)
    fit = aggregator("minimax-entropy").fit(votes)
    free = aggregator("minimax-entropy", item_penalty=1e9).fit(votes)
    missed = odd & (truth == 0)
    assert fit.posterior[missed, 0].mean() > free.posterior[missed, 0].mean()


@pytest.mark.parametrize(
    ("name", "published", "tolerance"),
    [
        ("bluebird", 0.0833, 0.0001),
        ("flowers", 0.135, 0.0051),
        ("rte", 0.0762, 0.0026),
        ("dog", 0.1623, 0.0026),
        ("web", 0.1112, 0.005),
    ],
)
def test_known_rows_are_reproduced(
    shared: Shared, name: str, published: float, tolerance: float
) -> None:
    votes, truth = shared(name)
    fit = aggregator("minimax-entropy").fit(votes)
    assert fit.history.converged
    assert abs(error(fit.posterior, truth) - published) <= tolerance
