"""Hierarchical workers scatter around the typical one."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import kstest, norm

from crowdlearn.errors import SettingsError
from crowdlearn.simulate import hierarchical


def test_workers_without_spread_are_all_typical():
    world = hierarchical(between_workers=0.0, seed=1)
    assert_allclose(world.confusion, np.broadcast_to(world.population, (50, 3, 3)))


def test_log_odds_scatter_normally_around_the_typical_ones():
    world = hierarchical(10, 4_000, 3, between_workers=0.7, seed=2)
    typical = np.log(world.population[1, 1] / world.population[1, 0])
    spread = np.log(world.confusion[:, 1, 1] / world.confusion[:, 1, 0]) - typical
    assert kstest(spread, norm(0, 0.7 * np.sqrt(2)).cdf).pvalue > 1e-4


def test_classes_without_spread_are_equally_easy():
    world = hierarchical(between_classes=0.0, ease=1.5)
    right = np.exp(1.5) / (np.exp(1.5) + 2)
    assert_allclose(np.diag(world.population), right)


def test_settings_out_of_range_are_refused():
    with pytest.raises(SettingsError, match="between_workers -1"):
        hierarchical(between_workers=-1.0)
