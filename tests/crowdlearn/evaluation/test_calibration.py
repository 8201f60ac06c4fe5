"""ECE against its definition in a loop, honest samples, and statsmodels' Wilson intervals."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from statsmodels.stats.proportion import proportion_confint

from crowdlearn.errors import SettingsError
from crowdlearn.evaluation.calibration import ece, reliability_curve, wilson


def honest(n_items: int, seed: int = 0):
    """Posteriors, and truths drawn from them."""
    rng = np.random.default_rng(seed)
    posterior = rng.dirichlet(np.full(3, 0.8), n_items)
    truth = (rng.random((n_items, 1)) > np.cumsum(posterior, axis=1)[:, :-1]).sum(axis=1)
    return posterior, truth


def test_ece_is_its_definition():
    posterior, truth = honest(400)
    truth[::7] = -1
    known = truth >= 0
    confidence, right = posterior.max(axis=1)[known], (posterior.argmax(axis=1) == truth)[known]
    expected = 0.0
    for b in range(10):
        inside = (confidence > b / 10) & (confidence <= (b + 1) / 10)
        if inside.any():
            expected += abs(right[inside].mean() - confidence[inside].mean()) * inside.mean()
    assert ece(posterior, truth) == pytest.approx(expected, abs=1e-12)


def test_ece_of_an_honest_sample_vanishes_and_overconfidence_shows():
    few, many = ece(*honest(2_000)), ece(*honest(200_000))
    assert many < 0.005 < few
    posterior, truth = honest(200_000)
    sharpened = posterior**3 / (posterior**3).sum(axis=1, keepdims=True)
    gap = sharpened.max(axis=1).mean() - posterior.max(axis=1).mean()  # all bins err alike
    assert ece(sharpened, truth) == pytest.approx(gap, abs=0.01)
    assert gap > 0.1


def test_bins_hold_their_upper_edge_and_ties_count_by_shares():
    posterior = np.array([[0.5, 0.5], [0.6, 0.4], [1.0, 0.0]])
    curve = reliability_curve(posterior, np.array([1, 0, 1]))
    assert_array_equal(np.flatnonzero(curve.count), [4, 5, 9])
    assert_allclose(curve.accuracy[[4, 5, 9]], [0.5, 1, 0])
    assert curve.ece == pytest.approx((0 + 0.4 + 1) / 3)
    assert np.isnan(curve.accuracy[0]) and np.isnan(curve.accuracy_low[0])


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson_is_that_of_statsmodels(level):
    successes, trials = np.array([0.0, 3, 50, 7]), np.array([4, 10, 50, 1000])
    low, high = proportion_confint(successes, trials, alpha=1 - level, method="wilson")
    assert_allclose(wilson(successes, trials, level), (low, high), atol=1e-12)
    assert np.isnan(wilson(np.zeros(1), np.zeros(1, dtype=int))).all()


def test_the_curve_of_an_honest_sample_lies_in_its_intervals():
    curve = reliability_curve(*honest(50_000), level=0.999)
    filled = curve.count > 0
    assert (curve.accuracy_low <= curve.confidence)[filled].all()
    assert (curve.confidence <= curve.accuracy_high)[filled].all()
    assert curve.count.sum() == 50_000


def test_settings_out_of_range_are_refused():
    with pytest.raises(SettingsError, match="n_bins is 0"):
        ece(*honest(10), n_bins=0)
    with pytest.raises(SettingsError, match="level is 1"):
        reliability_curve(*honest(10), level=1.0)
