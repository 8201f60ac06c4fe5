"""Pictures show the numbers they are given, and names cannot break them."""

import xml.etree.ElementTree as xml

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from crowdlearn import plots
from crowdlearn.aggregation import History, Interval
from crowdlearn.evaluation.calibration import reliability_curve
from crowdlearn.highlights import plain

NASTY = ["$\\frac{1}$", "<script>alert(1)</script>", "a\x00b\nc", "漢字", "x" * 500, "", "'\"&"]


def interval(n: int) -> Interval:
    mean = np.linspace(0.9, 0.1, n)
    return Interval(mean=mean, low=mean - 0.05, high=mean + 0.05)


def texts(svg: str) -> list[str]:
    """All words in a picture; raises where the picture is not well-formed."""
    return ["".join(node.itertext()) for node in xml.fromstring(svg).iter() if node.text]


def test_class_balance_draws_the_shares_largest_first():
    _, (ax,) = plots.figure(4, 3)
    plots.class_balance(ax, ["a", "b", "c"], np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.6, 0.3]))
    widths = [bar.get_width() for bar in ax.patches]
    assert_allclose(widths, [0.6, 0.3, 0.1, 0.3, 0.2, 0.5])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["b", "c", "a"]


def test_class_balance_of_many_classes_draws_the_largest():
    _, (ax,) = plots.figure(4, 3)
    shares = np.arange(100) / np.arange(100).sum()
    plots.class_balance(ax, [str(k) for k in range(100)], shares, shares)
    drawn = [label.get_text() for label in ax.get_yticklabels()]
    assert drawn == [str(k) for k in range(99, 69, -1)]


def test_certainty_counts_every_item():
    _, (ax,) = plots.figure(4, 3)
    confidence = np.random.default_rng(0).uniform(0.25, 1, 1000)
    plots.certainty(ax, confidence, 4)
    assert sum(bar.get_height() for bar in ax.patches) == 1000
    assert ax.patches[-1].get_height() == (confidence >= 1 - 0.75 / 20).sum()


def test_worker_ranking_shows_means_and_intervals():
    _, (ax,) = plots.figure(4, 3)
    accuracy = interval(5)
    plots.worker_ranking(ax, list("abcde"), accuracy, 0.5)
    segments = ax.collections[0].get_segments()
    assert_allclose([s[:, 0] for s in segments], np.stack([accuracy.low, accuracy.high], axis=1))
    assert_allclose(ax.lines[0].get_xdata(), accuracy.mean)
    top, bottom = ax.transData.transform([(0, 0), (0, 4)])[:, 1]
    assert top > bottom


def test_confusion_shows_the_matrix_with_truth_downwards():
    _, (ax,) = plots.figure(3, 3)
    matrix = np.array([[0.7, 0.3], [0.1, 0.9]])
    plots.confusion(ax, matrix, ["cat", "dog"], "ann")
    assert_allclose(ax.images[0].get_array(), matrix)
    written = {t.get_position(): t.get_text() for t in ax.texts}
    assert written[(1, 0)] == "0.30" and written[(0, 1)] == "0.10"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("said", "true")


def test_confusion_of_many_classes_leaves_out_the_numbers():
    _, (ax,) = plots.figure(3, 3)
    plots.confusion(ax, np.eye(200), [str(k) for k in range(200)], "ann")
    assert not ax.texts


def test_reliability_shows_the_curve():
    _, (ax,) = plots.figure(3, 3)
    rng = np.random.default_rng(0)
    posterior = rng.dirichlet([1, 1, 1], 300)
    curve = reliability_curve(posterior, rng.integers(0, 3, 300))
    plots.reliability(ax, curve)
    some = curve.count > 0
    dots = ax.collections[1].get_offsets()
    assert_allclose(dots, np.stack([curve.confidence[some], curve.accuracy[some]], axis=1))


@pytest.mark.parametrize("with_bound", [True, False])
def test_convergence_shows_the_bound_or_else_the_change(with_bound):
    _, (ax,) = plots.figure(3, 3)
    change = 0.5 ** np.arange(1, 9)
    bound = np.arange(8.0) if with_bound else np.full(8, np.nan)
    plots.convergence(ax, History(bound, change, "log likelihood", True))
    assert_allclose(ax.lines[0].get_ydata(), bound if with_bound else change)
    assert ax.get_yscale() == ("linear" if with_bound else "log")


def test_names_cannot_break_a_picture():
    made, (left, right) = plots.figure(8, 4, 2)
    n = len(NASTY)
    plots.worker_ranking(left, NASTY, interval(n), 0.5)
    plots.confusion(right, np.eye(n), NASTY, NASTY[0])
    found = texts(plots.to_svg(made))
    assert "$\\frac{1}$" in found  # as it is, not as a formula
    assert "漢字" in found
    assert "a·b·c" in found
    assert not any("x" * 30 in text for text in found)


def test_a_picture_is_the_same_each_time_and_leaves_no_trace():
    def draw() -> str:
        made, (ax,) = plots.figure(4, 3)
        plots.certainty(ax, np.linspace(0.5, 1, 50), 2)
        return plots.to_svg(made)

    before = dict(matplotlib.rcParams)
    first, second = draw(), draw()
    assert first == second
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("n", [1, 2, 3, 4, 9])
def test_grid_has_as_many_axes_as_asked(n):
    made, axes = plots.grid_of(n, 3, 2.0)
    assert len(axes) == n
    assert sum(ax.axison for ax in made.axes) == n


@given(st.text(), st.integers(6, 40))
def test_plain_is_printable_and_short(name, width):
    shown = plain(name, width)
    assert len(shown) <= width
    assert shown.isprintable()
    if name.isprintable() and len(name) <= width:
        assert shown == name
