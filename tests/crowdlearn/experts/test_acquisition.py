"""Scores against closed forms and their laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

from crowdlearn.experts import cent, entropy, least_confident, margin

ACQUISITIONS = {"entropy": entropy, "least": least_confident, "margin": margin}
SURE = np.array([[1.0, 0.0, 0.0]])
LEVEL = np.full((1, 3), 1 / 3)
POSTERIORS = arrays(np.float64, (5, 3), elements=st.floats(0.001, 1)).map(
    lambda x: x / x.sum(axis=1, keepdims=True)
)


def test_closed_forms() -> None:
    posterior = np.array([[0.5, 0.3, 0.2]])
    expected = -(0.5 * math.log(0.5) + 0.3 * math.log(0.3) + 0.2 * math.log(0.2))
    assert_allclose(entropy(posterior), expected)
    assert_allclose(least_confident(posterior), 0.5)
    assert_allclose(margin(posterior), -0.2)
    assert_allclose(cent(posterior, np.array([2])), -math.log(0.2) + expected)


@pytest.mark.parametrize("name", ACQUISITIONS)
@given(POSTERIORS)
def test_nothing_is_less_urgent_than_certainty_or_more_than_a_tie(
    name: str, posterior: np.ndarray
) -> None:
    score = ACQUISITIONS[name]
    found = score(posterior)
    assert (found >= score(SURE) - 1e-12).all() and (found <= score(LEVEL) + 1e-12).all()
    assert_allclose(score(posterior[:, ::-1].copy()), found)  # names of classes do not matter


def test_for_two_classes_all_agree_on_the_order() -> None:
    p = np.random.default_rng(0).random(50)
    posterior = np.stack([p, 1 - p], axis=1)
    orders = [np.argsort(score(posterior)) for score in ACQUISITIONS.values()]
    for order in orders[1:]:
        assert_array_equal(order, orders[0])


def test_cent_is_large_for_contradiction_and_for_doubt() -> None:
    """Above an unanimous yes: a confident no, and a classifier that does not know."""
    classifier = np.array([[0.98, 0.01, 0.01], [0.01, 0.98, 0.01], [0.34, 0.33, 0.33]])
    agrees, contradicts, doubts = cent(classifier, np.array([0, 0, 0]))
    assert contradicts > doubts > agrees
    assert np.isfinite(cent(SURE, np.array([1]))).all()
