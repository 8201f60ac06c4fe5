"""Drifting workers: the path is a walk of the log odds, and votes follow it over time."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import logit
from scipy.stats import kstest, norm

from crowdlearn.errors import SettingsError
from crowdlearn.simulate import drifting, everyone


def test_the_path_is_a_walk_of_the_log_odds():
    path = drifting(10, 3_000, n_moments=3, step=0.5, accuracy=(0.5, 0.9)).accuracy_path
    assert path.shape == (3, 3_000)
    assert path[0].min() >= 0.5 and path[0].max() <= 0.9
    for steps in np.diff(logit(path), axis=0):
        assert kstest(steps, norm(0, 0.5).cdf).pvalue > 1e-4


def test_votes_follow_the_path():
    world = drifting(40_000, 4, n_moments=2, step=3.0, assign=everyone(), seed=2)
    right = (world.votes.label == world.truth[world.votes.item]).reshape(40_000, 4)
    start, end = world.accuracy_path
    error = 4 * 0.5 / np.sqrt(4_000)
    assert np.abs(end - start).max() > 10 * error
    assert_allclose(right[:4_000].mean(axis=0), 0.95 * start + 0.05 * end, atol=error)
    assert_allclose(right[-4_000:].mean(axis=0), 0.05 * start + 0.95 * end, atol=error)


def test_no_steps_no_drift():
    world = drifting(step=0.0)
    assert_allclose(world.accuracy_path, world.accuracy_path[:1].repeat(5, axis=0))
    assert_allclose(world.confusion[:, 1, 1], world.accuracy_path[0])


def test_settings_out_of_range_are_refused():
    with pytest.raises(SettingsError, match="n_moments is 1"):
        drifting(n_moments=1)
    with pytest.raises(SettingsError, match="accuracy is"):
        drifting(accuracy=(0.5, 1.0))
