"""The curves of an audit, drawn from its record: leakage at the left, what stays at the right.

Each is drawn twice, for light and dark pages, on no background. Colours are those of Okabe and Ito.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

PIXELS_AN_INCH = 96
CEILING = 40.0  # dB; what is higher is drawn there, for nobody can see it


@dataclass(frozen=True)
class Palette:
    """Colours of a page."""

    ink: str
    soft: str
    line: str
    leak: str
    knowing: str
    accuracy: str


LIGHT = Palette("#1c2530", "#566270", "#dfe3e8", "#d55e00", "#0072b2", "#009e73")
DARK = Palette("#e6eaef", "#a3afbb", "#343d47", "#ff9a4d", "#62b6ea", "#4cc9a0")


@dataclass(frozen=True)
class Drawing:
    """A figure inside the page, for light and for dark; `alt` says in words what it shows."""

    light: str
    dark: str
    alt: str
    width: int
    height: int


def drawing(curve: Mapping[str, Any]) -> Drawing:
    """A curve of the record."""
    figures = [curve_figure(curve, palette) for palette in (LIGHT, DARK)]
    width, height = figures[0].get_size_inches()
    light, dark = (_address(one) for one in figures)
    return Drawing(
        light, dark, in_words(curve), round(width * PIXELS_AN_INCH), round(height * PIXELS_AN_INCH)
    )


def curve_figure(curve: Mapping[str, Any], palette: Palette = LIGHT) -> Figure:
    """PSNR at the left; at the right the share of images that are re-identified, and accuracy."""
    points = ([curve["plain"]] if curve["plain"] else []) + list(curve["points"])
    ticks = (["none"] if curve["plain"] else []) + [f"{one['at']:g}" for one in curve["points"]]
    figure = Figure(figsize=(7.8, 2.75), layout="constrained")
    left, right = figure.subplots(1, 2)
    _leakage(left, points, palette)
    _shares(right, points, palette)
    for ax in (left, right):
        ax.set_xticks(range(len(ticks)), ticks)
        ax.set_xlim(-0.3, len(ticks) - 0.7)
        _clean(ax, palette)
    figure.supxlabel(curve["axis"], fontsize=9, color=palette.soft)
    handles, labels = [], []
    for ax in (left, right):
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            if label not in labels:
                handles.append(handle)
                labels.append(label)
    figure.legend(
        handles, labels, loc="outside upper left", ncols=4, frameon=False, fontsize=8.5,
        labelcolor=palette.ink,
    )  # fmt: skip
    return figure


def in_words(curve: Mapping[str, Any]) -> str:
    """What the figure shows."""
    said = [
        f"{one['at']:g}: {_number(one['leak'], 'psnr_median', '{:.1f} dB')},"
        f" {_number(one['leak'], 'share_reidentified', '{:.0%}')} re-identified"
        for one in curve["points"]
    ]
    return f"{curve['title']} by {curve['axis']}. " + "; ".join(said)


def _leakage(ax: Axes, points: Sequence[Mapping[str, Any]], palette: Palette) -> None:
    _line(ax, points, "leak", "psnr_median", palette.leak, "attack", "-", "o")
    if any(one["adapts"] for one in points):
        _line(
            ax, points, "knowing", "psnr_median", palette.knowing, "attacker knows the defence",
            "--", "D",
        )  # fmt: skip
    at, low, high = [], [], []
    for place, one in enumerate(points):
        if one["leak"] is not None:
            at.append(place)
            low.append(min(one["leak"]["psnr_quartiles"][0], CEILING))
            high.append(min(one["leak"]["psnr_quartiles"][1], CEILING))
    ax.fill_between(at, low, high, color=palette.leak, alpha=0.15, linewidth=0)
    guess = [(place, one["guess"]) for place, one in enumerate(points) if one["guess"] is not None]
    if guess:
        ax.plot(
            *zip(*guess, strict=True), color=palette.soft, linestyle=":",
            label="best guess without an update",
        )  # fmt: skip
    ax.set_ylabel("median PSNR, dB")
    ax.set_ylim(0, CEILING + 2)
    ax.set_yticks(range(0, int(CEILING) + 1, 10), ["0", "10", "20", "30", "≥ 40"])


def _shares(ax: Axes, points: Sequence[Mapping[str, Any]], palette: Palette) -> None:
    _line(ax, points, "leak", "share_reidentified", palette.leak, "attack", "-", "o")
    if any(one["adapts"] for one in points):
        _line(
            ax, points, "knowing", "share_reidentified", palette.knowing,
            "attacker knows the defence", "--", "D",
        )  # fmt: skip
    known = [(k, one["accuracy"]) for k, one in enumerate(points) if one["accuracy"] is not None]
    if known:
        ax.plot(
            *zip(*known, strict=True), color=palette.accuracy, marker="s", markersize=4.5,
            label="accuracy of the model",
        )  # fmt: skip
    ax.set_ylim(-0.04, 1.04)
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.set_ylabel("re-identified, accuracy" if known else "images re-identified")


def _line(
    ax: Axes, points: Sequence[Mapping[str, Any]], who: str, what: str, colour: str, label: str,
    style: str, marker: str,
) -> None:  # fmt: skip
    known = [(place, one[who][what]) for place, one in enumerate(points) if one[who] is not None]
    if known:
        x, y = zip(*known, strict=True)
        y = tuple(min(value, CEILING) for value in y)
        ax.plot(x, y, color=colour, linestyle=style, marker=marker, markersize=4.5, label=label)


def _clean(ax: Axes, palette: Palette) -> None:
    ax.set_facecolor("none")
    ax.spines[["top", "right"]].set_visible(False)
    for spine in ax.spines.values():
        spine.set_color(palette.soft)
    ax.tick_params(colors=palette.soft, labelcolor=palette.ink, labelsize=8.5)
    ax.yaxis.label.set_color(palette.soft)
    ax.yaxis.label.set_fontsize(9)
    ax.set_axisbelow(True)
    ax.grid(axis="y", color=palette.line, linewidth=0.7)


def _address(figure: Figure) -> str:
    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "fedsec"}):
        figure.savefig(
            buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    text = buffer.getvalue()
    code = base64.b64encode(text[text.index("<svg") :].encode()).decode()
    return f"data:image/svg+xml;base64,{code}"


def _number(leak: Mapping[str, Any] | None, what: str, form: str) -> str:
    return "not measured" if leak is None or leak[what] is None else form.format(leak[what])
