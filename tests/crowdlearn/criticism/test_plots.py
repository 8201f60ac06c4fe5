"""Pictures of criticism show the numbers they are given."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose

from crowdlearn.criticism import Check
from crowdlearn.criticism.plots import predicted_against_seen, rank_ecdf
from crowdlearn.inference.calibration import Calibration, ecdf_band
from crowdlearn.plots import figure, to_svg


def test_the_least_expected_entries_are_drawn_first() -> None:
    low, seen = np.arange(40.0), np.linspace(0, 50, 40)
    check = Check(
        statistic="pair-agreement",
        entries=tuple(f"$pair_{i}$" for i in range(40)),
        seen=seen,
        mean=low + 1,
        low=low,
        high=low + 2,
        p=np.linspace(1, 0.01, 40),
        p_all=0.2,
    )
    made, (ax,) = figure(4, 4)
    predicted_against_seen(ax, check)
    assert_allclose(ax.lines[0].get_xdata(), seen[::-1][:25])
    segments = np.array(ax.collections[0].get_segments())
    assert_allclose(segments[:, :, 0], np.stack([low, low + 2], axis=1)[::-1][:25])
    assert ax.get_yticklabels()[0].get_text() == "$pair_39$"
    assert "pair-agreement (p 0.200)" in to_svg(made)


def test_ranks_are_drawn_as_distance_from_uniform() -> None:
    ranks = np.repeat(np.arange(10), 12)[:, None]
    _, (ax,) = figure(4, 3)
    rank_ecdf(ax, Calibration(("log likelihood",), ranks, 9), "log likelihood")
    assert_allclose(ax.lines[0].get_ydata(), 0, atol=1e-12)  # exactly uniform
    low, high = ecdf_band(120, 9)
    heights = ax.collections[0].get_paths()[0].vertices[:, 1]
    uniform = np.arange(1, 11) / 10
    assert_allclose([heights.min(), heights.max()], [(low - uniform).min(), (high - uniform).max()])
