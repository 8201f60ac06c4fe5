"""FedFast: k-means of label distributions, and one client of each cluster."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from fedsec.federated.selectors import FedFast
from fedsec.federated.selectors.fedfast import k_means, seats, spread
from tests.fedsec.federated.selectors.histories import maverick, viewed


def test_an_exclusive_maverick_takes_part_in_every_round() -> None:
    """Beside clients that are all alike, and beside such as differ a little."""
    rng = np.random.default_rng(0)
    uneven = maverick() + rng.integers(0, 20, (50, 10)) * (maverick() > 0)
    for counts in (maverick(), uneven):
        for seed in range(40):
            assert 0 in FedFast()(viewed(counts, 5), np.random.default_rng(seed))


def test_one_client_of_each_kind_is_chosen_at_random() -> None:
    """Three kinds of four clients each."""
    counts = np.repeat(10 * np.eye(3, dtype=np.int64) + 1, 4, axis=0)
    times = np.zeros(12)
    for seed in range(300):
        chosen = FedFast(n_restarts=1)(viewed(counts, 3), np.random.default_rng(seed))
        assert sorted(chosen // 4) == [0, 1, 2]
        times[chosen] += 1
    assert (np.abs(times / 300 - 1 / 4) <= 4 * np.sqrt(3 / 16 / 300)).all()


def test_fewer_kinds_than_places_share_them_by_size() -> None:
    """Two kinds, of 6 and 2 clients: 4 places are 3 and 1."""
    counts = np.array([[5, 1]] * 6 + [[1, 5]] * 2)
    for seed in range(10):
        chosen = FedFast()(viewed(counts, 4), np.random.default_rng(seed))
        assert_array_equal(np.bincount(chosen // 6), [3, 1])


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.data())
def test_every_cluster_gets_a_place_and_no_more_than_it_has(
    sizes: list[int], data: st.DataObject
) -> None:
    k = data.draw(st.integers(len(sizes), sum(sizes)))
    given = seats(np.array(sizes), k)
    assert given.sum() == k and (given >= 1).all() and (given <= sizes).all()


@pytest.mark.parametrize("seed", range(5))
def test_k_means_is_a_fixed_point_near_scikit_learns(seed: int) -> None:
    """Each point is nearest to its own mean; the best of some restarts is as good as theirs."""
    sklearn = pytest.importorskip("sklearn.cluster")
    rng = np.random.default_rng(seed)
    points = rng.dirichlet(np.ones(4), 40)
    runs = [k_means(points, 5, rng) for _ in range(20)]
    for cluster in runs:
        means = np.array([points[cluster == c].mean(axis=0) for c in range(5)])
        squared = ((points[:, None] - means) ** 2).sum(axis=2)
        assert_array_equal(squared.argmin(axis=1), cluster)
        assert_allclose(spread(points, cluster), squared.min(axis=1).sum())
    theirs = sklearn.KMeans(5, n_init=20, random_state=seed).fit(points).inertia_
    assert min(spread(points, cluster) for cluster in runs) <= 1.02 * theirs


def test_k_means_has_fewer_clusters_where_fewer_points_differ() -> None:
    points = np.repeat(np.eye(2), 3, axis=0)
    cluster = k_means(points, 4, np.random.default_rng(0))
    assert sorted(set(cluster.tolist())) == [0, 1]
    assert len(set(cluster[:3])) == len(set(cluster[3:])) == 1
