"""Stacking weights against closed form and brute force."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose

from crowdlearn.inference.stacking import stacking_weights


def test_methods_that_each_explain_some_votes_are_weighted_by_how_many() -> None:
    density = np.array([[1.0, 0.0]] * 30 + [[0.0, 1.0]] * 10)
    assert_allclose(stacking_weights(density), [0.75, 0.25], atol=1e-6)


def test_a_method_that_always_predicts_better_gets_all_the_weight() -> None:
    density = np.random.default_rng(0).uniform(0.1, 0.5, (50, 1)) * [1.0, 1.2, 0.9]
    assert_allclose(stacking_weights(density), [0, 1, 0], atol=1e-8)


def test_no_weights_on_a_fine_grid_predict_better() -> None:
    density = np.random.default_rng(1).uniform(0, 1, (80, 3))
    found = np.log(density @ stacking_weights(density)).mean()
    grid = np.linspace(0, 1, 101)
    best = max(np.log(density @ [a, b, 1 - a - b]).mean() for a in grid for b in grid if a + b <= 1)
    assert best <= found + 1e-9
    assert found - best < 1e-3


def test_without_votes_the_weights_are_equal() -> None:
    assert_allclose(stacking_weights(np.zeros((0, 4))), 0.25)
