"""Pictures show what they were given, and touch nothing global."""

from __future__ import annotations

import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from fedsec import plots
from fedsec.plots import COLOURS, MAVERICK, OTHER

RNG = np.random.default_rng(0)
RUNS = {
    name: np.clip(RNG.random((4, 30)), 0.1, 0.9)
    for name in (
        "random", "fedemd", "shapley-weighted", "tifl", "fedfast", "power-of-choice", "oort",
        "always", "never",
    )
}  # fmt: skip


def saved(figure: Figure) -> Figure:
    """The figure, drawn once: whatever cannot be drawn raises or warns."""
    figure.savefig("/dev/null", format="png")
    return figure


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_curves_are_means_with_deviations() -> None:
    figure = saved(plots.accuracy_curves(RUNS))
    (ax,) = figure.axes
    assert legend(figure) == list(RUNS)
    for line, band, values in zip(ax.lines, ax.collections, RUNS.values(), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 31))
        np.testing.assert_allclose(line.get_ydata(), values.mean(axis=0))
        upper = np.clip(values.mean(axis=0) + values.std(axis=0, ddof=1), 0, 1)
        assert band.get_paths()[0].vertices[:, 1].max() == pytest.approx(upper.max())
    assert "4 seeds" in figure.legends[0].get_title().get_text()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("round", "test accuracy")


def test_every_selector_can_be_told_apart() -> None:
    (ax,) = plots.accuracy_curves(RUNS).axes
    styles = {(line.get_color(), line.get_linestyle()) for line in ax.lines}
    assert len(styles) == len(RUNS)
    assert MAVERICK not in COLOURS


def test_rounds_that_were_not_evaluated_are_left_out() -> None:
    values = np.full((2, 10), np.nan)
    values[:, 4::5] = 0.5
    figure = saved(plots.accuracy_curves({"fedemd": values}))
    (line,) = figure.axes[0].lines
    np.testing.assert_array_equal(line.get_xdata(), [5, 10])
    assert line.get_marker() == "o"


def test_one_seed_has_no_band() -> None:
    figure = saved(plots.maverick_recall_curves({"fedemd": RUNS["fedemd"][:1]}, ["trouser"]))
    assert not figure.axes[0].collections
    assert figure.axes[0].get_ylabel() == "recall of the Maverick's class (trouser)"


def test_names_are_never_formulas() -> None:
    label = saved(plots.maverick_recall_curves(RUNS, ["$x_1", "a\nb", "$c$"])).axes[0].get_ylabel()
    assert "\n" not in label and r"\$x_1" in label
    many = plots.maverick_recall_curves(RUNS, list("abcdef")).axes[0].get_ylabel()
    assert many.endswith("(6 classes)")


@pytest.mark.parametrize("n_selectors", [1, 2, 4, 9])
def test_a_map_of_who_took_part(n_selectors: int) -> None:
    chosen = {name: (RNG.random((12, 20)) < 0.3) * 1.0 for name in list(RUNS)[:n_selectors]}
    figure = saved(plots.selection_map(chosen, [0, 2]))
    assert len(figure.axes) == 2 * n_selectors
    for place, (name, shares) in enumerate(chosen.items()):
        heat, total = figure.axes[2 * place : 2 * place + 2]
        assert heat.get_title(loc="left") == name
        picture = np.asarray(heat.images[0].get_array())
        for client, colour in ((0, MAVERICK), (1, OTHER), (2, MAVERICK)):
            took_part = picture[client, shares[client] == 1, :3]
            np.testing.assert_allclose(took_part, np.broadcast_to(to_rgb(colour), took_part.shape))
            assert (picture[client, shares[client] == 0] == 1).all()
        lengths = [bar.get_width() for bar in total.patches]
        np.testing.assert_allclose(lengths, shares.sum(axis=1))


def test_the_map_says_what_paler_means() -> None:
    once = {"random": np.eye(5)}
    assert not any("seeds" in text for text in legend(plots.selection_map(once)))
    half = {"random": np.eye(5) / 2}
    assert "paler: in some seeds" in legend(saved(plots.selection_map(half)))


def test_bars_end_at_the_values_and_intervals_at_their_ends() -> None:
    values = np.array([-0.5, 0.2, 0.4, 0.0])
    interval = np.stack([values - [0.1, 0.0, 0.2, 0.0], values + [0.3, 0.0, 0.2, 0.0]], axis=1)
    figure = saved(plots.contribution_bars(values, interval, [0], title="digits"))
    (ax,) = figure.axes
    assert [bar.get_height() for bar in ax.patches] == values.tolist()
    assert [to_hex(bar.get_facecolor()).upper() for bar in ax.patches] == [MAVERICK] + 3 * [OTHER]
    segments = [line.get_segments() for line in ax.collections][0]
    ends = [sorted(segment[:, 1]) for segment in segments]
    np.testing.assert_allclose(ends, [[-0.6, -0.2], [0.2, 0.6]])
    assert ax.get_ylabel() == "contribution (nats)"
    assert legend(figure) == ["client", "Maverick", "95 % interval"]


def test_a_maverick_that_dwarfs_the_others_gets_a_second_scale() -> None:
    values = np.array([-12.0, 0.5, 0.6])
    exact = np.stack([values, values], axis=1)
    figure = saved(plots.contribution_bars(values, exact, [0]))
    upper, lower = figure.axes
    assert upper.get_ylim()[0] < -12 and -1 < lower.get_ylim()[0] < 0 < 0.6 < lower.get_ylim()[1]
    assert "95 % interval" not in legend(figure)
    assert len(plots.contribution_bars(values, exact).axes) == 1


def test_many_clients_can_be_drawn() -> None:
    values = RNG.normal(size=300)
    saved(plots.contribution_bars(values, np.stack([values - 1, values + 1], axis=1), [0]))
    saved(plots.selection_map({"random": (RNG.random((500, 40)) < 0.1) * 1.0}, [0]))


def test_nothing_global_is_touched() -> None:
    before = dict(matplotlib.rcParams)
    plots.accuracy_curves(RUNS)
    assert dict(matplotlib.rcParams) == before
    assert (
        "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
    )
