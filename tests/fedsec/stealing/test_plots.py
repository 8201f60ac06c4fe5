"""Curves are medians over seeds, the worst the lower edge; what is drawn is what was told."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from numpy.testing import assert_allclose

from fedsec.stealing.plots import (
    CONTROL_COLOUR,
    copy_curves,
    curves_of,
    pool_histogram,
    transfer_curves,
)
from fedsec.stealing.records import StealRecord


def record(queries: int, accuracy: float | None = None, histogram: tuple[int, ...] = ()):
    agreement = None if accuracy is None else accuracy + 0.01
    return StealRecord(
        queries=queries, steps=0, iteration=0, accuracy=accuracy, agreement=agreement,
        histogram=histogram,
    )  # fmt: skip


def curve(*points: tuple[int, float | None]) -> list[StealRecord]:
    return [record(*point) for point in points]


def test_seeds_that_were_recorded_at_other_counts_are_brought_together() -> None:
    found = curves_of([curve((10, 0.1), (30, 0.3)), curve((20, 0.2), (40, 0.4))], "accuracy")
    assert found is not None
    assert_allclose(found[0], [20, 30, 40])  # from where both have a record
    assert_allclose(found[1], [[0.1, 0.3, 0.3], [0.2, 0.2, 0.4]])
    assert curves_of([curve((10, None))], "accuracy") is None
    assert curves_of([curve((10, 0.5)), curve((10, None))], "accuracy") is None


def test_curves_are_medians_on_a_log_axis_and_the_band_reaches_from_worst_to_best() -> None:
    seeds = [curve((100, low), (1000, low + 0.2)) for low in (0.1, 0.5, 0.3)]
    figure = copy_curves({"mega": seeds, "noise": seeds[:1]}, victim=0.9, chance=0.1)
    left, right = figure.axes
    assert left.get_xscale() == right.get_xscale() == "log"
    lines = {line.get_label(): line for line in left.lines}
    assert_allclose(lines["mega"].get_ydata(), [0.3, 0.5])
    assert_allclose(lines["victim"].get_ydata(), 0.9)
    assert to_rgba(lines["noise"].get_color()) == to_rgba(CONTROL_COLOUR)
    (band,) = left.collections
    edges = band.get_paths()[0].vertices
    assert_allclose([edges[:, 1].min(), edges[:, 1].max()], [0.1, 0.7])
    (agreement,) = (line for line in right.lines if line.get_label() == "mega")
    assert_allclose(agreement.get_ydata(), [0.31, 0.51])
    (legend,) = figure.legends
    assert "3 seeds" in legend.get_title().get_text()
    figure.canvas.draw()  # type: ignore[no-untyped-call]


def test_a_method_without_test_images_is_not_drawn() -> None:
    figure = copy_curves({"mega": [curve((10, None))], "noise": [curve((10, 0.2), (20, 0.3))]})
    assert [line.get_label() for line in figure.axes[0].lines] == ["noise"]


def test_the_histogram_shows_shares_and_the_effective_number_of_classes() -> None:
    records = [record(10, histogram=(5, 5, 5, 5)), record(20), record(30, histogram=(8, 8, 0, 0))]
    figure = pool_histogram(records, ["a", "$b$", "c", "d"], title="m")
    top, below = figure.axes[:2]
    (mesh,) = top.collections
    shares = np.asarray(mesh.get_array()).reshape(4, 2)
    assert_allclose(shares, [[0.25, 0.5], [0.25, 0.5], [0.25, 0], [0.25, 0]])
    assert_allclose(below.lines[0].get_ydata(), [4, 2])
    assert [text.get_text() for text in top.get_yticklabels()] == ["a", r"\$b\$", "c", "d"]
    figure.canvas.draw()  # type: ignore[no-untyped-call]
    with pytest.raises(ValueError, match="no record has a histogram"):
        pool_histogram([record(10)])


def test_transfer_is_drawn_against_eps_and_leaves_out_what_counts_no_image() -> None:
    success = {"mega": np.array([[0.0, 0.4], [0.2, np.nan]]), "noise": np.array([[0.1, 0.2]] * 2)}
    figure = transfer_curves(success, [0.1, 0.2], attack="fgsm", targeted=True)
    (ax,) = figure.axes
    assert_allclose(ax.lines[0].get_xdata(), [0.1, 0.2])
    assert_allclose(ax.lines[0].get_ydata(), [0.1, 0.4])
    assert ax.get_ylabel() == "target reached"
