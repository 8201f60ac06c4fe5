"""Pictures of results: each function draws one on the Axes it is given, and returns nothing.

No pyplot, no global state: make a figure with `figure`, draw, and write it with `to_svg` or
`Figure.savefig`. Colours are those of Okabe and Ito, which colour-blind readers can tell apart, and
stand for the same thing everywhere: blue is what was estimated, orange is what was said or seen,
grey is a reference. Names are data: they are shortened, cleaned of control characters, and never
read as formulas.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from jaxtyping import Float, Int
from matplotlib import MatplotlibDeprecationWarning, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from crowdlearn.aggregation import Draws, History, Interval
from crowdlearn.arviz_import import import_arviz
from crowdlearn.errors import SettingsError
from crowdlearn.evaluation.calibration import ReliabilityCurve
from crowdlearn.highlights import plain

ESTIMATED, SEEN, REFERENCE, DARK = "#0072B2", "#E69F00", "#8a9099", "#222831"
MAX_CLASSES = 30  # bars drawn by `class_balance`
MAX_NUMBERED = 10  # classes up to which `confusion` writes the numbers into the cells


def figure(width: int | float, height: int | float, n_axes: int = 1) -> tuple[Figure, list[Axes]]:
    """An empty figure of this size in inches, with `n_axes` Axes side by side."""
    made = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    axes = made.subplots(1, n_axes, squeeze=False)[0]
    return made, list(axes)


def to_svg(drawn: Figure) -> str:
    """The figure as SVG text. Letters stay letters, set by the reader's fonts."""
    buffer = io.StringIO()
    with (
        rc_context({"svg.fonttype": "none", "svg.hashsalt": "crowdlearn"}),
        warnings.catch_warnings(),
    ):
        # Measuring a letter that matplotlib's own font lacks; the browser's fonts have it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", append=False)
        drawn.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def class_balance(
    ax: Axes,
    classes: Sequence[str],
    vote_share: Float[np.ndarray, " class"],
    label_share: Float[np.ndarray, " class"],
) -> None:
    """Share of the votes and of the labels that each class has; the 30 largest where more."""
    order = np.argsort(-label_share, kind="stable")[:MAX_CLASSES]
    place = np.arange(len(order))
    ax.barh(place - 0.2, label_share[order], 0.38, color=ESTIMATED, label="labels")
    ax.barh(place + 0.2, vote_share[order], 0.38, color=SEEN, label="votes")
    for offset, shares in ((-0.2, label_share[order]), (0.2, vote_share[order])):
        for y, share in zip(place + offset, shares, strict=True):
            ax.annotate(
                f"{share:.1%}", (share, y), (3, 0), textcoords="offset points",
                va="center", fontsize=8, color=DARK,
            )  # fmt: skip
    ax.set_yticks(place, [plain(classes[k]) for k in order], parse_math=False)
    ax.invert_yaxis()
    ax.set_xlim(0, 1.12 * max(vote_share.max(), label_share.max()))
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.legend(loc="lower right", frameon=False, fontsize=9)
    _clean(ax, "x")


def certainty(ax: Axes, confidence: Float[np.ndarray, " item"], n_classes: int) -> None:
    """How many items have how probable a label: a histogram from 1 / n_classes to 1."""
    ax.hist(confidence, bins=20, range=(1 / n_classes, 1), color=ESTIMATED, edgecolor="white")
    ax.set_xlabel("probability of the label")
    ax.set_ylabel("items")
    ax.set_xlim(1 / n_classes, 1)
    _clean(ax, "y")


def worker_ranking(
    ax: Axes,
    names: Sequence[str],
    accuracy: Interval,
    chance: float,
) -> None:
    """Estimated accuracy of workers with its interval, the first on top.

    `chance` is the accuracy of a worker who always gives the most probable class.
    """
    place = np.arange(len(names))
    ax.hlines(place, accuracy.low, accuracy.high, color=ESTIMATED, alpha=0.45, linewidth=3.5)
    ax.plot(accuracy.mean, place, "o", color=ESTIMATED, markersize=5)
    ax.axvline(chance, color=REFERENCE, linestyle="--", linewidth=1)
    ax.annotate(
        "always the commonest class", (chance, 1), (3, 3), xycoords=("data", "axes fraction"),
        textcoords="offset points", fontsize=8, color=REFERENCE,
    )  # fmt: skip
    ax.set_yticks(place, [plain(name) for name in names], fontsize=8, parse_math=False)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_xlim(-0.01, 1.01)
    ax.set_xlabel(f"accuracy, with {accuracy.level:.0%} interval")
    _clean(ax, "x")


def confusion(
    ax: Axes, matrix: Float[np.ndarray, "class class"], classes: Sequence[str], title: str
) -> None:
    """Heat map of [truth, label] probabilities; numbers are written in for up to 10 classes."""
    ax.imshow(matrix, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    ax.set_title(plain(title, 34), fontsize=9, parse_math=False)
    ax.set_xlabel("said")
    ax.set_ylabel("true")
    place = np.arange(len(classes))
    if len(classes) <= MAX_CLASSES:
        names = [plain(name, 12) for name in classes]
        slanted = sum(map(len, names)) > 26
        ax.set_xticks(place, names, rotation=45 if slanted else 0, parse_math=False)
        ax.set_yticks(place, names, parse_math=False)
        if slanted:
            ax.set_xticks(place, names, ha="right", rotation_mode="anchor", parse_math=False)
    ax.tick_params(length=0, labelsize=8)
    ax.spines[:].set_visible(False)
    if len(classes) <= MAX_NUMBERED:
        _write_cells(ax, matrix, 9 if len(classes) <= 4 else 7 if len(classes) <= 6 else 5)


def reliability(ax: Axes, curve: ReliabilityCurve) -> None:
    """Share right against mean confidence, a dot a bin; on the diagonal both agree."""
    some = curve.count > 0
    x, y = curve.confidence[some], curve.accuracy[some]
    ax.plot([0, 1], [0, 1], "--", color=REFERENCE, linewidth=1, label="calibrated")
    ax.vlines(x, curve.accuracy_low[some], curve.accuracy_high[some], color=ESTIMATED, alpha=0.45)
    size = 20 + 160 * curve.count[some] / curve.count.max()
    ax.scatter(x, y, size, color=ESTIMATED, zorder=3, label="items of a bin (area: how many)")
    ax.plot(x, y, color=ESTIMATED, linewidth=1, alpha=0.6)
    ax.set_xlim(0, 1.03)
    ax.set_ylim(0, 1.03)
    ax.set_aspect("equal")
    ax.set_xlabel("mean probability of the label")
    ax.set_ylabel("share right")
    ax.legend(loc="upper left", frameon=False, fontsize=8)
    _clean(ax, "both")


def convergence(ax: Axes, history: History) -> None:
    """The bound after every sweep; where a method has none, the largest change on a log scale."""
    sweeps = np.arange(1, history.n_sweeps + 1)
    bound = history.bound
    has_bound = len(bound) == len(sweeps) > 0 and bool(np.isfinite(bound).any())
    values = bound if has_bound else history.change
    marker = "o" if len(sweeps) < 40 else ""
    ax.plot(sweeps, values, color=ESTIMATED, marker=marker, markersize=4, linewidth=1.2)
    if not has_bound and bool((np.nan_to_num(values) > 0).any()):
        ax.set_yscale("log")
    ax.set_xlabel("sweep")
    ax.set_ylabel(f"{history.bound_name} (nats)" if has_bound else "largest change")
    ax.ticklabel_format(axis="y", useOffset=False) if has_bound else None
    _clean(ax, "y")


def trace(axes: Sequence[Axes], draws: Draws, name: str) -> None:
    """Density and path of every entry of a site, a line for each chain, on two Axes.

    `name` is a site of the story, `prior` or `diagonal`. Drawn by ArviZ (extra `bayes`).
    """
    found, arviz = draws.to_arviz(), import_arviz()
    names = [_site(draws, name)]
    with _older_matplotlib():
        arviz.plot_trace(found, var_names=names, axes=np.array([axes]), show=False)
    for ax in axes:
        _clean(ax, "y")


def forest(ax: Axes, draws: Draws, name: str) -> None:
    """Mean, quartiles and 90 % interval of every entry of a site, a line for each chain.

    `name` is a site of the story, `prior` or `diagonal`. Drawn by ArviZ (extra `bayes`).
    """
    found, arviz = draws.to_arviz(), import_arviz()
    names = [_site(draws, name)]
    with _older_matplotlib():
        arviz.plot_forest(found, var_names=names, hdi_prob=0.9, ax=np.array([ax]), show=False)
    _clean(ax, "x")


@contextmanager
def _older_matplotlib() -> Iterator[None]:
    """ArviZ calls matplotlib in a way that is deprecated, which is no news for a user."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=MatplotlibDeprecationWarning)
        yield


def _site(draws: Draws, name: str) -> str:
    known = ["diagonal", *(draws.sites or ["prior"])]
    if name not in known:
        raise SettingsError(f"there are no draws of {name!r}: there are {', '.join(known)}")
    return name


def size_of_ranking(n_workers: int) -> float:
    """A height in inches that gives every worker a readable line."""
    return 1.0 + 0.19 * max(n_workers, 4)


def grid_of(n: int, columns: int, cell: int | float) -> tuple[Figure, list[Axes]]:
    """A figure of `n` square Axes in rows of `columns`; `cell` is their side in inches."""
    columns = min(columns, n)
    rows = -(-n // columns)
    made = Figure(figsize=(cell * columns, cell * rows), layout="constrained", facecolor="white")
    axes = made.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes[n:]:
        ax.set_axis_off()
    return made, list(axes[:n])


def shares_of(codes: Int[np.ndarray, " entry"], n_classes: int) -> Float[np.ndarray, " class"]:
    """Share of each class code among `codes`."""
    return np.bincount(codes, minlength=n_classes) / max(len(codes), 1)


def _write_cells(ax: Axes, matrix: np.ndarray, size: int) -> None:
    for (truth, label), share in np.ndenumerate(matrix):
        ax.text(
            label, truth, f"{share:.2f}", ha="center", va="center", fontsize=size,
            color="white" if share > 0.55 else DARK,
        )  # fmt: skip


def _clean(ax: Axes, grid: str) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_axisbelow(True)
    ax.grid(axis=grid, color="#dde1e6", linewidth=0.7)  # type: ignore[arg-type]
