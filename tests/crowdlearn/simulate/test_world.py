"""Draws against one inversion at a time, exact laws, and independent streams."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import chisquare

from crowdlearn.errors import SettingsError
from crowdlearn.simulate import world
from crowdlearn.simulate.world import draw_labels, draw_rows, spread_errors, streams, uniform_or


@pytest.mark.parametrize("n_classes", [2, 3, 4, 7, 10, 33])
def test_draws_invert_the_cumulative_sums(n_classes, monkeypatch):
    monkeypatch.setattr(world, "CHUNK", 700)
    rng = np.random.default_rng(n_classes)
    rows = rng.dirichlet(np.full(n_classes, 0.5), 20)
    row = rng.integers(0, 20, 3_000)
    uniform = np.random.default_rng(1).random(3_000)
    expected = [
        np.searchsorted(np.cumsum(rows[r])[:-1], u, side="right")
        for r, u in zip(row, uniform, strict=True)
    ]
    assert_array_equal(draw_rows(np.random.default_rng(1), rows, row), expected)


def test_classes_of_probability_zero_are_never_drawn():
    rows = np.array([[0, 0.3, 0, 0.7, 0.0]])
    drawn = draw_rows(np.random.default_rng(0), rows, np.zeros(50_000, dtype=np.int32))
    counts = np.bincount(drawn, minlength=5)
    assert_array_equal(counts[[0, 2, 4]], 0)
    assert chisquare(counts[[1, 3]], [15_000, 35_000]).pvalue > 1e-4


def test_labels_come_from_the_row_of_worker_and_state():
    confusion = np.zeros((2, 3, 4))  # worker, state, class: each row is sure
    confusion[0, [0, 1, 2], [3, 1, 0]] = 1
    confusion[1, [0, 1, 2], [2, 2, 1]] = 1
    item = np.array([0, 0, 1, 1, 2, 2], dtype=np.int32)
    worker = np.array([0, 1, 0, 1, 0, 1], dtype=np.int32)
    state = np.array([2, 0, 1], dtype=np.int32)
    drawn = draw_labels(np.random.default_rng(0), confusion, item, worker, state)
    assert_array_equal(drawn, [0, 1, 3, 2, 1, 2])


def test_streams_are_independent_and_do_not_depend_on_their_number():
    three, six = streams(7, 3), streams(7, 6)
    first = [rng.random(20_000) for rng in six]
    for rng, values in zip(three, first, strict=False):
        assert_array_equal(rng.random(20_000), values)
    correlations = np.corrcoef(first)[np.triu_indices(6, 1)]
    assert np.abs(correlations).max() < 4 / np.sqrt(20_000)


def test_errors_are_spread_in_proportion():
    diagonal = np.array([[0.7, 0.4, 1.0]])
    errors = np.array([[[9.0, 1, 3], [2, 9, 2], [1, 1, 9]]])
    expected = [[[0.7, 0.075, 0.225], [0.3, 0.4, 0.3], [0, 0, 1]]]
    assert_allclose(spread_errors(diagonal, errors), expected)


@pytest.mark.parametrize("prior", [[0.5, 0.5], [0.5, 0.4, 0.2], [1.2, -0.2, 0.0]])
def test_a_prior_that_is_none_is_refused(prior):
    with pytest.raises(SettingsError, match="3 probabilities that sum to one"):
        uniform_or(np.array(prior), 3)
