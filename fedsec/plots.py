"""Pictures of federated runs: each function draws a new figure and returns it.

No pyplot, no global state: write a figure with `Figure.savefig`. Colours are those of Okabe and
Ito, which colour-blind readers can tell apart. A selector has its colour by its place in the
mapping; where there are more than colours, lines are dashed. Mavericks are vermilion throughout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.container import Container
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#000000")
MAVERICK, OTHER, DARK = "#D55E00", "#0072B2", "#222831"
MAX_CAPS = 60  # clients up to which intervals have caps
DWARFED = 4.0  # times the others' bars that a Maverick's bar must reach for a second scale


def accuracy_curves(runs: Mapping[str, Float[np.ndarray, "seed round"]]) -> Figure:
    """Test accuracy after each round: mean over seeds, and one standard deviation around it.

    `runs` by the name of the selector; NaN where a round was not evaluated. Where seeds have
    different rounds, give NaN for those that are missing.
    """
    return _curves(runs, "test accuracy")


def maverick_recall_curves(
    runs: Mapping[str, Float[np.ndarray, "seed round"]], classes: Sequence[str] = ()
) -> Figure:
    """Recall of the classes that Mavericks hold, drawn as `accuracy_curves` draws."""
    held = ", ".join(classes) if len(classes) <= 3 else f"{len(classes)} classes"
    figure = _curves(
        runs, "recall of the Maverick's class" + (f" ({_plain(held)})" if held else "")
    )
    figure.axes[0].set_ylim(-0.02, 1.02)
    return figure


def selection_map(
    chosen: Mapping[str, Float[np.ndarray, "client round"]], mavericks: Sequence[int] = ()
) -> Figure:
    """Who took part when: a row a client, a column a round; at the right, in how many rounds.

    `chosen` by the name of the selector: the share of seeds in which a client took part in a round.
    """
    n_clients, n_rounds = next(iter(chosen.values())).shape
    columns = 2 if len(chosen) in (2, 4) else min(len(chosen), 3)
    rows = -(-len(chosen) // columns)
    height = float(np.clip(0.09 * n_clients, 2.4, 6.0)) + 0.9
    figure = Figure(figsize=(1.2 + 4.6 * columns, height * rows + 0.3), layout="constrained")
    grid = figure.add_gridspec(rows, columns)
    for place, (name, shares) in enumerate(chosen.items()):
        inner = grid[divmod(place, columns)].subgridspec(1, 2, width_ratios=(4, 1), wspace=0.03)
        ax = figure.add_subplot(inner[0])
        total = figure.add_subplot(inner[1])
        _heat(ax, shares, mavericks)
        _totals(total, shares, mavericks)
        ax.set_title(name, fontsize=11, loc="left")
        ax.set_ylim(n_clients - 0.5, -0.5)
    handles: list[Artist | Container] = [Patch(color=OTHER, label="took part")]
    if len(mavericks):
        handles.append(Patch(color=MAVERICK, label="took part, Maverick"))
    if any(((shares > 0) & (shares < 1 - 1e-9)).any() for shares in chosen.values()):
        handles.append(Patch(color=OTHER, alpha=0.45, linewidth=0, label="paler: in some seeds"))
    handles.append(Line2D([], [], color=DARK, linestyle="--", label="mean of all clients"))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=4 if columns > 1 else 2, frameon=False,
        fontsize=9,
    )  # fmt: skip
    return figure


def contribution_bars(
    values: Float[np.ndarray, " client"],
    interval: Float[np.ndarray, "client 2"],
    mavericks: Sequence[int] = (),
    *,
    unit: str = "nats",
    title: str = "",
) -> Figure:
    """What each client contributed, with the ends of its interval.

    Where a Maverick's bar dwarfs the others, a second row shows the same on the others' scale.
    """
    n = len(values)
    is_maverick = np.isin(np.arange(n), list(mavericks))
    inner, outer = _reach(interval[~is_maverick]), _reach(interval)
    n_rows = 2 if is_maverick.any() and 0 < DWARFED * inner < outer else 1
    width = float(np.clip(2.5 + 0.13 * n, 5.5, 14))
    figure = Figure(figsize=(width, 1.2 + 2.7 * n_rows), layout="constrained")
    axes = figure.subplots(n_rows, 1, sharex=True, squeeze=False)[:, 0]
    for ax in axes:
        _bars(ax, values, interval, is_maverick)
        ax.set_ylabel(f"contribution ({unit})")
    axes[-1].set_xlabel("client")
    axes[0].set_title(_plain(title, 80), fontsize=11, loc="left")
    if n_rows == 2:
        low, high = interval[~is_maverick].min(), interval[~is_maverick].max()
        axes[1].set_ylim(min(1.1 * low, -0.1 * high), max(1.1 * high, -0.1 * low))
        axes[1].set_title("the same on the scale of the other clients", fontsize=9, loc="left")
    handles: list[Artist | Container] = [Patch(color=OTHER, label="client")]
    if is_maverick.any():
        handles.append(Patch(color=MAVERICK, label="Maverick"))
    if (interval[:, 0] < interval[:, 1]).any():
        handles.append(Line2D([], [], color=DARK, marker="|", label="95 % interval"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def _reach(interval: Float[np.ndarray, "client 2"]) -> float:
    """How far from 0 the intervals go."""
    return float(np.abs(interval).max(initial=0.0))


def _bars(
    ax: Axes,
    values: Float[np.ndarray, " client"],
    interval: Float[np.ndarray, "client 2"],
    is_maverick: Bool[np.ndarray, " client"],
) -> None:
    n, place = len(values), np.arange(len(values))
    ax.bar(place, values, 0.8, color=np.where(is_maverick, MAVERICK, OTHER))
    some = interval[:, 0] < interval[:, 1]
    around = np.abs(interval.T - values)
    ax.errorbar(
        place[some], values[some], yerr=around[:, some], fmt="none", ecolor=DARK, elinewidth=1,
        capsize=2 if n <= MAX_CAPS else 0,
    )  # fmt: skip
    ax.axhline(0, color=DARK, linewidth=0.8)
    ax.set_xlim(-0.8, n - 0.2)
    ax.xaxis.set_major_locator(_whole(min(n, 13)))
    _clean(ax, "y")


def _curves(runs: Mapping[str, Float[np.ndarray, "seed round"]], of: str) -> Figure:
    figure = Figure(figsize=(8.2, 4.2), layout="constrained")
    ax = figure.subplots()
    n_seeds = max(len(values) for values in runs.values())
    for place, (name, values) in enumerate(runs.items()):
        known = np.flatnonzero(np.isfinite(values).any(axis=0))
        mean, spread = _mean_and_deviation(values[:, known])
        colour = COLOURS[place % len(COLOURS)]
        ax.plot(
            known + 1, mean, color=colour, label=name, linewidth=1.6,
            linestyle=("-", "--", ":")[place // len(COLOURS) % 3],
            marker="o" if len(known) <= 15 else "", markersize=4,
        )  # fmt: skip
        if n_seeds > 1:
            low, high = np.clip(mean - spread, 0, 1), np.clip(mean + spread, 0, 1)
            ax.fill_between(known + 1, low, high, color=colour, alpha=0.16, linewidth=0)
    ax.set_xlabel("round")
    ax.set_ylabel(of)
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.xaxis.set_major_locator(_whole(8))
    ax.set_xlim(left=0.5)
    title = f"mean ± sd, {n_seeds} seeds" if n_seeds > 1 else "one seed"
    figure.legend(
        loc="outside right upper", frameon=False, fontsize=9, title=title, title_fontsize=9
    )
    _clean(ax, "y")
    return figure


def _mean_and_deviation(
    values: Float[np.ndarray, "seed round"],
) -> tuple[Float[np.ndarray, " round"], Float[np.ndarray, " round"]]:
    """Over the seeds that are not NaN, of which every round has one."""
    known = np.isfinite(values)
    n = known.sum(axis=0)
    mean = np.where(known, values, 0.0).sum(axis=0) / n
    squares = np.where(known, (values - mean) ** 2, 0.0).sum(axis=0)
    return mean, np.sqrt(squares / np.maximum(n - 1, 1))


def _heat(ax: Axes, shares: Float[np.ndarray, "client round"], mavericks: Sequence[int]) -> None:
    n_clients, n_rounds = shares.shape
    picture = np.empty((n_clients, n_rounds, 4))
    for ids, colour in (
        (np.arange(n_clients), OTHER), (np.array(mavericks, dtype=np.int64), MAVERICK)
    ):  # fmt: skip
        shade = LinearSegmentedColormap.from_list("shade", ["white", colour])
        picture[ids] = shade(shares[ids])
    extent = (0.5, n_rounds + 0.5, n_clients - 0.5, -0.5)
    ax.imshow(picture, aspect="auto", interpolation="nearest", extent=extent)
    ax.set_xlabel("round")
    ax.set_ylabel("client")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(_whole(6))


def _totals(ax: Axes, shares: Float[np.ndarray, "client round"], mavericks: Sequence[int]) -> None:
    """Rounds that each client took part in, beside the number when all are alike."""
    place, total = np.arange(len(shares)), shares.sum(axis=1)
    colours = np.where(np.isin(place, list(mavericks)), MAVERICK, OTHER)
    ax.barh(place, total, 0.8, color=colours)
    ax.axvline(total.mean(), color=DARK, linewidth=1, linestyle="--")
    ax.set_ylim(len(shares) - 0.5, -0.5)
    ax.set_yticks([])
    ax.set_xlabel("rounds")
    ax.xaxis.set_major_locator(_whole(2))
    _clean(ax, "x")


def _whole(n: int) -> MaxNLocator:
    """Up to `n` round numbers."""
    return MaxNLocator(n, integer=True, steps=[1, 2, 5, 10])


def _plain(name: str, width: int = 40) -> str:
    """A name from a file: one line, not too long, and no formula."""
    line = "".join(c if c.isprintable() else " " for c in name).replace("$", r"\$")
    return line if len(line) <= width else f"{line[: width - 1]}…"


def _clean(ax: Axes, grid: str) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_axisbelow(True)
    ax.grid(axis=grid, color="#dde1e6", linewidth=0.7)  # type: ignore[arg-type]
