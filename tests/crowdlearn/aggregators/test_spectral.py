from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_allclose

from crowdlearn.aggregators import aggregator
from crowdlearn.aggregators.spectral import (
    Moments,
    components,
    deal,
    group_shares,
    moments_of,
    third_moment,
    worker_table,
)
from crowdlearn.errors import ConvergenceWarning
from crowdlearn.evaluation import error
from crowdlearn.sweeps import sweeper
from crowdlearn.votes import Votes

Shared = Callable[[str], tuple[Votes, np.ndarray]]


@pytest.fixture(scope="module")
def large() -> tuple[Votes, np.ndarray, np.ndarray, np.ndarray]:
    """20,000 items, each with votes of 6 of 9 workers, 3 classes; truth, confusions and prior."""
    rng = np.random.default_rng(0)
    prior = np.array([0.5, 0.3, 0.2])
    confusion = 0.6 * np.eye(3) + 0.4 * rng.dirichlet(np.ones(3), size=(9, 3))
    truth = rng.choice(3, p=prior, size=20000)
    worker = rng.permuted(np.tile(np.arange(9), (20000, 1)), axis=1)[:, :6].ravel()
    item = np.repeat(np.arange(20000), 6)
    edges = confusion[worker, truth[item]].cumsum(axis=1)
    label = (rng.random(len(item))[:, None] > edges).sum(axis=1)
    return Votes.from_codes(item, worker, label), truth, confusion, prior


def test_exact_moments_are_taken_apart_exactly() -> None:
    rng = np.random.default_rng(1)
    weights = np.array([0.4, 0.3, 0.2, 0.1])
    columns = 0.5 * np.eye(4) + 0.5 * rng.dirichlet(np.ones(4), size=4).T
    second = np.einsum("k,ak,bk->ab", weights, columns, columns)
    third = np.einsum("k,ak,bk,ck->abc", weights, columns, columns, columns)
    found = components(second, third, rng)
    assert found is not None
    order = np.argsort(-found[0])
    assert_allclose(found[0][order], weights, rtol=1e-8)
    assert_allclose(found[1][:, order], columns, rtol=1e-7, atol=1e-9)


def test_singular_moments_are_said_to_be_so() -> None:
    third = np.zeros((2, 2, 2))
    assert components(np.ones((2, 2)), third, np.random.default_rng(0)) is None


def test_moments_find_groups_workers_and_prior(
    large: tuple[Votes, np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """Without any EM: within the sampling error of 20,000 items."""
    votes, truth, confusion, prior = large
    rng = np.random.default_rng(0)
    group = deal(votes, rng)
    assert np.bincount(group).tolist() == [3, 3, 3]
    found = moments_of(votes, group, rng)
    assert isinstance(found, Moments)
    assert_allclose(found.prior, prior, atol=0.02)
    for g in range(3):
        mean = np.stack([group_shares(votes, group, g)[truth == k].mean(axis=0) for k in range(3)])
        assert_allclose(found.confusion[g].T, mean, atol=0.03)
    home = sweeper(votes, np.full(votes.n_items, -1))
    table = worker_table(home, found).reshape(9, 3, 3)
    assert_allclose(table.transpose(0, 2, 1), confusion, atol=0.06)


def test_third_moments_by_hand() -> None:
    rng = np.random.default_rng(0)
    a, b, c = rng.random((3, 20000, 2))  # more items than are taken at once
    expected = np.einsum("ix,iy,iz->xyz", a, b, c) / 20000
    assert_allclose(third_moment(a, b, c), expected, rtol=1e-10)


def test_it_ends_where_dawid_skene_ends_on_easy_votes(
    large: tuple[Votes, np.ndarray, np.ndarray, np.ndarray],
) -> None:
    votes = large[0]
    spectral, from_shares = (aggregator(n).fit(votes) for n in ("spectral", "dawid-skene"))
    assert_allclose(spectral.posterior, from_shares.posterior, atol=1e-3)
    assert_allclose(spectral.history.bound[-1], from_shares.history.bound[-1], rtol=1e-9)


def test_it_starts_above_a_misled_majority() -> None:
    """Most workers call class 1 a 0 more often than not; the moments know that it is a class."""
    rng = np.random.default_rng(3)
    confusion = np.array([[0.95, 0.05], [0.6, 0.4]])
    good = np.array([[0.9, 0.1], [0.1, 0.9]])
    truth = rng.integers(0, 2, 4000)
    item, worker = (a.ravel() for a in np.meshgrid(np.arange(4000), np.arange(9), indexing="ij"))
    right = np.where(worker < 6, confusion[truth[item], 1], good[truth[item], 1])
    votes = Votes.from_codes(item, worker, (rng.random(len(item)) < right).astype(int))
    first = aggregator("spectral", max_sweeps=1, tolerance=1.0).fit(votes)
    majority = aggregator("majority").fit(votes)
    assert (first.labels == truth).mean() > 0.93 > (majority.labels == truth).mean() + 0.05


def test_failed_moments_are_told_of_and_em_starts_from_the_shares(tiny: Votes) -> None:
    votes = tiny.only_workers(np.array([True, True, False]))
    with pytest.warns(ConvergenceWarning, match="spectral start failed .hardly an item has votes"):
        fit = aggregator("spectral").fit(votes)
    assert_allclose(fit.posterior, aggregator("dawid-skene").fit(votes).posterior)


@pytest.mark.parametrize(
    ("name", "expected"), [("bluebird", 0.1019), ("rte", 0.0712), ("trec", 0.298)]
)
def test_it_ends_near_dawid_skene_on_real_votes(shared: Shared, name: str, expected: float) -> None:
    votes, truth = shared(name)
    fit = aggregator("spectral").fit(votes)
    assert fit.warnings == ()
    assert abs(error(fit.posterior, truth) - expected) < 1.5 / min((truth >= 0).sum(), 400)
