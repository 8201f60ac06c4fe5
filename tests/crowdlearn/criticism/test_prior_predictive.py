"""Draws from a prior have the moments that the prior has."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from crowdlearn.criticism import PriorPredictive, prior_predictive
from crowdlearn.errors import SettingsError
from crowdlearn.models import STORIES
from crowdlearn.votes import Votes

N = 800


@pytest.fixture(scope="module")
def drawn() -> PriorPredictive:
    """Ten items judged by three of four workers, under BCC with rows Dirichlet(1, 2)."""
    item, worker = np.repeat(np.arange(10), 3), np.tile(np.arange(3), 10)
    votes = Votes.from_codes(item, worker, item % 2, workers=4)
    return prior_predictive(STORIES["bcc"], votes, n_draws=N, seed=2)


def test_moments_are_those_of_the_dirichlets(drawn: PriorPredictive) -> None:
    assert_allclose(np.nanmean(drawn.worker_accuracy[:, :3]), 2 / 3, atol=0.02)
    assert_allclose(drawn.class_share.mean(axis=0), 1 / 2, atol=0.04)
    same = 2 / 3 * 2 / 3 + 1 / 3 * 1 / 3  # two independent rows: E[row] @ E[row]
    assert_allclose(drawn.agreement.mean(), same, atol=4 * drawn.agreement.std() / np.sqrt(N))


def test_accuracy_is_that_of_the_drawn_confusions(drawn: PriorPredictive) -> None:
    expected = np.einsum("dwkk,dk->dw", drawn.sites["confusion"], drawn.sites["prior"])
    assert_allclose(drawn.worker_accuracy[:, :3], expected[:, :3], rtol=1e-4)
    assert np.isnan(drawn.worker_accuracy[:, 3]).all()  # judges nothing


def test_the_table_sums_up_the_draws(drawn: PriorPredictive) -> None:
    rows = {row["quantity"]: row for row in drawn.to_table().to_pylist()}
    assert rows["agreement of two votes"]["mean"] == pytest.approx(drawn.agreement.mean())
    largest = rows["largest class"]
    assert largest["low"] >= 0.5 and largest["low"] <= largest["mean"] <= largest["high"]


def test_shapes_and_names(drawn: PriorPredictive) -> None:
    assert drawn.truth.shape == (N, 10) and drawn.label.shape == (N, 30)
    assert_array_equal(drawn.sites["confusion"].shape, (N, 4, 2, 2))


def test_no_draws_are_refused(drawn: PriorPredictive) -> None:
    with pytest.raises(SettingsError, match="n_draws must be at least 1, not 0"):
        prior_predictive(STORIES["bcc"], drawn.votes, n_draws=0)
