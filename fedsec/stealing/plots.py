"""Pictures of copies that were stolen; each function draws a new figure and returns it.

Median over seeds as a line, the worst seed (for the owner of a copy: the lowest) as the lower edge
of a band whose upper edge is the best. Colours as in `fedsec.plots`; plain noise, the control, is
grey and dotted throughout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, PercentFormatter

from fedsec.plots import COLOURS, DARK
from fedsec.stealing.records import StealRecord

CONTROL_COLOUR = "#7a828c"
STYLES = ("-", "--", "-.")
MOST_CLASSES = 20  # that a histogram names

Runs = Mapping[str, Sequence[Sequence[StealRecord]]]
"""Name of a method -> its curves, one a seed."""


def copy_curves(
    runs: Runs, *, victim: float | None = None, chance: float | None = None, control: str = "noise"
) -> Figure:
    """Accuracy of the copy and agreement with the victim against queries, on a log axis.

    victim   its own accuracy, a line in the first panel
    chance   share that a guess gets right, a line in both
    control  the name that is drawn in grey

    Records without test images are left out; a method that has none is not drawn.
    """
    figure = Figure(figsize=(9.6, 3.9), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for ax, what, title in (
        (axes[0], "accuracy", "accuracy of the copy"),
        (axes[1], "agreement", "agreement with the victim"),
    ):
        for name, colour, style in _looks(runs, control):
            found = curves_of(runs[name], what)
            if found is not None:
                _band(ax, *found, name=name, colour=colour, style=style)
        if chance is not None:
            ax.axhline(chance, color=DARK, linewidth=0.8, linestyle=":")
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
        ax.xaxis.set_minor_formatter(EngFormatter(sep="") if _narrow(ax) else _nothing)
        ax.set_xlabel("queries")
        ax.set_title(title, fontsize=11, loc="left")
        _clean(ax)
    if victim is not None:
        axes[0].axhline(victim, color=DARK, linewidth=1, linestyle="--", label="victim")
    axes[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes[0].set_ylim(0, 1.02)
    _legend(figure, axes[0], max(map(len, runs.values())))
    return figure


def pool_histogram(
    records: Sequence[StealRecord], classes: Sequence[str] = (), *, title: str = ""
) -> Figure:
    """What the victim said over time: the share of each class among the latest answers.

    A row a class, a column a record, darker for more. A generator that has collapsed leaves rows
    white; the line below tells the effective number of classes, exp of the entropy.
    """
    counts = _counts(records)
    shares = counts / counts.sum(axis=1, keepdims=True)
    n_classes = counts.shape[1]
    queries = np.array([record.queries for record in records if sum(record.histogram)])
    figure = Figure(figsize=(8.2, 1.9 + 0.2 * min(n_classes, 24)), layout="constrained")
    top, below = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    edges = np.concatenate([[0], queries])
    picture = top.pcolormesh(
        edges, np.arange(n_classes + 1) - 0.5, shares.T, cmap="Blues", vmin=0,
        vmax=max(float(shares.max()), 2 / n_classes),
    )  # fmt: skip
    top.invert_yaxis()
    if n_classes <= MOST_CLASSES:
        names = [_plain(name) for name in classes] or [str(code) for code in range(n_classes)]
        top.set_yticks(range(n_classes), names, fontsize=8)
    top.set_ylabel("class")
    top.set_title(_plain(title, 80), fontsize=11, loc="left")
    bar = figure.colorbar(picture, ax=top, pad=0.01)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(shares > 0, shares * np.log(shares), 0.0)
    below.step(queries, np.exp(-terms.sum(axis=1)), where="pre", color=COLOURS[0])
    below.axhline(n_classes, color=DARK, linewidth=0.8, linestyle=":")
    below.set_ylim(0, 1.1 * n_classes)
    below.set_ylabel("classes,\neffective", fontsize=9)
    below.set_xlabel("queries")
    below.xaxis.set_major_formatter(EngFormatter(sep=""))
    _clean(below)
    return figure


def transfer_curves(
    success: Mapping[str, Float[np.ndarray, "seed eps"]],
    eps: Sequence[float],
    *,
    attack: str = "",
    targeted: bool = False,
    control: str = "noise",
) -> Figure:
    """Share of images that adversarial examples made on a copy flip on the victim, against eps.

    `success` by the name of what they were made on; NaN where no image counts.
    """
    figure = Figure(figsize=(6.6, 3.9), layout="constrained")
    ax = figure.subplots()
    for name, colour, style in _looks(success, control):
        values = success[name]
        _band(ax, np.asarray(eps, dtype=float), values, name=name, colour=colour, style=style)
    ax.set_xlabel("eps, largest change of a pixel in [0, 1]")
    ax.set_ylabel("target reached" if targeted else "label changed")
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlim(left=0)
    ax.set_title(_plain(attack, 80), fontsize=11, loc="left")
    _clean(ax)
    _legend(figure, ax, max(map(len, success.values())))
    return figure


def curves_of(
    seeds: Sequence[Sequence[StealRecord]], what: str
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, "seed point"]] | None:
    """Queries, and one measure of the records at them, a row a seed; None where it has no value.

    Seeds are recorded at slightly different counts: each is taken as it was at the latest record
    up to a point, and there are points where every seed has one.
    """
    found = []
    for records in seeds:
        pairs = [(one.queries, getattr(one, what)) for one in records]
        known = [(queries, value) for queries, value in pairs if value is not None]
        if not known:
            return None
        found.append(np.array(known, dtype=float).T)
    first = max(queries[0] for queries, _ in found)
    points = np.unique(np.concatenate([queries for queries, _ in found]))
    points = points[points >= first]
    values = [value[np.searchsorted(queries, points, side="right") - 1] for queries, value in found]
    return points, np.stack(values)


def _band(
    ax: Axes,
    x: Float[np.ndarray, " point"],
    values: Float[np.ndarray, "seed point"],
    *,
    name: str,
    colour: str,
    style: str,
) -> None:
    """The median, and from the worst to the best."""
    known = np.isfinite(values).any(axis=0)
    x, values = x[known], values[:, known]
    ax.plot(
        x, np.nanmedian(values, axis=0), color=colour, linestyle=style, linewidth=1.6,
        label=_plain(name), marker="o" if len(x) <= 8 else "", markersize=4,
    )  # fmt: skip
    if len(values) > 1:
        low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
        ax.fill_between(x, low, high, color=colour, alpha=0.14, linewidth=0)


def _looks(names: Mapping[str, object], control: str) -> list[tuple[str, str, str]]:
    """(name, colour, line) in order."""
    place, looks = 0, []
    for name in names:
        if name == control:
            looks.append((name, CONTROL_COLOUR, ":"))
            continue
        looks.append((name, COLOURS[place % len(COLOURS)], STYLES[place // len(COLOURS) % 3]))
        place += 1
    return looks


def _legend(figure: Figure, ax: Axes, n_seeds: int) -> None:
    title = f"median, worst to best\nof {n_seeds} seeds" if n_seeds > 1 else "one seed"
    figure.legend(
        *ax.get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=9,
        title=title, title_fontsize=9,
    )  # fmt: skip


def _counts(records: Sequence[StealRecord]) -> Float[np.ndarray, "record class"]:
    counts = [record.histogram for record in records if sum(record.histogram)]
    if not counts:
        raise ValueError("no record has a histogram of answers")
    return np.array(counts, dtype=float)


def _narrow(ax: Axes) -> bool:
    """Whether the axis spans less than a decade, where major ticks alone may be none."""
    low, high = ax.get_xlim()
    return bool(high < 10 * max(low, 1e-9))


def _nothing(value: float, place: int) -> str:
    return ""


def _plain(name: str, width: int = 40) -> str:
    """One line, not too long, and no formula."""
    line = "".join(c if c.isprintable() else " " for c in name).replace("$", r"\$")
    return line if len(line) <= width else f"{line[: width - 1]}…"


def _clean(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_axisbelow(True)
    ax.grid(axis="y", color="#dde1e6", linewidth=0.7)
