"""Distances of label distributions."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose
from scipy.stats import wasserstein_distance

from fedsec.errors import DataError, SettingsError
from fedsec.federated.distances import (
    DISTANCES,
    NORMS,
    by_class_count,
    by_mean,
    l1,
    shares,
    tv,
    unscaled,
    w1_matrix,
    w1_ordered,
)
from tests.fedsec.federated.selectors.histories import maverick

UNIFORM = np.full(10, 0.1)
ONE_HOT = np.eye(10)[[1]]  # all of class 1
NINE = (1 - ONE_HOT) / 9  # every class but 1


def world(seed: int, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(1, 20, (4, n_classes)), rng.integers(1, 50, n_classes)


def test_values_that_can_be_worked_out_by_hand() -> None:
    assert_allclose(l1(ONE_HOT, UNIFORM), 1.8)
    assert_allclose(l1(NINE, UNIFORM), 0.2)
    assert_allclose(w1_ordered(ONE_HOT, UNIFORM), 3.7)
    assert_allclose(w1_ordered(NINE, UNIFORM), 0.411, atol=5e-4)


@given(st.integers(0, 10**6), st.integers(1, 8))
def test_total_variation_is_half_of_l1_and_counts_are_shares(seed: int, n_classes: int) -> None:
    counts, q = world(seed, n_classes)
    assert_allclose(tv(counts, q), l1(counts, q) / 2)
    for distance in DISTANCES.values():
        assert_allclose(distance(counts, q), distance(shares(counts), shares(q)), atol=1e-12)
        assert_allclose(distance(counts, counts[0])[0], 0, atol=1e-12)


@given(st.integers(0, 10**6), st.integers(1, 8))
def test_ordered_w1_is_scipys(seed: int, n_classes: int) -> None:
    counts, q = world(seed, n_classes)
    at = np.arange(n_classes)
    expected = [wasserstein_distance(at, at, row, q) for row in counts]
    assert_allclose(w1_ordered(counts, q), expected, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_w1_of_a_cost_contains_the_others(seed: int) -> None:
    """Classes all 1 apart give total variation, classes on a line the ordered distance."""
    counts, q = world(seed, 6)
    at = np.arange(6)
    assert_allclose(w1_matrix(1 - np.eye(6))(counts, q), tv(counts, q), atol=1e-12)
    line = w1_matrix(np.abs(at[:, None] - at))
    assert_allclose(line(counts, q), w1_ordered(counts, q), atol=1e-12)


def test_a_cost_is_from_the_client_to_q() -> None:
    cost = np.array([[0.0, 3.0], [5.0, 0.0]])
    assert_allclose(w1_matrix(cost)(np.array([[2, 0], [0, 2]]), np.array([1, 1])), [1.5, 2.5])


def test_a_cost_that_cannot_be_used_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in (-1.0, np.nan, np.inf):
        with pytest.raises(SettingsError, match="finite and at least 0"):
            w1_matrix(np.array([[0.0, wrong], [1.0, 0.0]]))
    with pytest.raises(DataError, match="cost is of 2 classes and the labels are of 3"):
        w1_matrix(1 - np.eye(2))(np.ones((1, 3)), np.ones(3))
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(ImportError, match=r"pip install 'crowdlearn\[fedsec\]'"):
        w1_matrix(np.eye(2))


@pytest.mark.parametrize("name", DISTANCES)
def test_a_client_without_samples_is_named(name: str) -> None:
    with pytest.raises(DataError, match="client 1 has no samples"):
        DISTANCES[name](np.array([[1, 2], [0, 0]]), np.array([1, 1]))
    with pytest.raises(DataError, match="there are no samples"):
        DISTANCES[name](np.array([[1, 2]]), np.array([0, 0]))


@given(arrays(np.int64, (5, 3), elements=st.integers(1, 30)))
def test_over_the_mean_the_mean_is_one(counts: np.ndarray) -> None:
    """Whatever the unit; and 0 where all clients are alike."""
    q = counts.sum(axis=0)
    scaled = by_mean(l1, counts, q)
    if l1(counts, q).any():
        assert_allclose(scaled.mean(), 1)
    assert_allclose(scaled, by_mean(tv, counts, q), atol=1e-12)
    assert_allclose(by_mean(l1, np.tile(counts[:1], (3, 1)), counts[0]), 0)
    assert_allclose(unscaled(l1, counts, q), l1(counts, q))


def test_by_class_count_is_the_l1_of_counts_in_average_clients() -> None:
    """|D_g / N - D_i| / (classes * samples of a class per client), written out."""
    counts = maverick()
    total = counts.sum(axis=0)
    ordinary = total[0] / 50
    expected = np.abs(total / 50 - counts).sum(axis=1) / (10 * ordinary)
    assert_allclose(by_class_count(l1, counts, total), expected)
    alike = np.tile([3, 5], (4, 1))
    assert_allclose(by_class_count(l1, alike, np.array([1, 1])), l1(alike, np.array([1, 1])))
    with pytest.raises(SettingsError, match="take norm mean"):
        NORMS["class_count"](w1_ordered, counts, total)
