"""R@99 of every way to choose clients, drawn into docs/images/mavericks.svg.

A dot is a seed, a line the mean.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "mavericks.svg"


def draw(result: dict[str, Any], n_rounds: dict[str, int], path: Path = PICTURE) -> None:
    """One panel a table of `result`; `n_rounds` says how many rounds were played in it."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    panels = {}
    if "digits" in result:
        panels["digits"] = (result["digits"]["rows"], n_rounds["digits"])
    for weighting, part in result.get("fashion", {}).items():
        panels[f"Fashion-MNIST, averaging {weighting}"] = (part["rows"], n_rounds["fashion"])
    figure = Figure(figsize=(4.2 * len(panels), 3.6), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for ax, (title, (rows, rounds)) in zip(axes, panels.items(), strict=True):
        _panel(ax, rows, rounds)
        ax.set_title(title, fontsize=10)
    with rc_context({"svg.hashsalt": "mavericks"}):
        figure.savefig(path, metadata={"Date": None})


def _panel(ax: Any, rows: list[dict[str, Any]], n_rounds: int) -> None:
    from fedsec.plots import COLOURS

    for place, row in enumerate(rows):
        colour = COLOURS[1] if row["method"] == "fedemd" else COLOURS[0]
        each = row["R@99"]["each"]
        ax.plot(each, [place] * len(each), "o", color=colour, markersize=4, alpha=0.55)
        ax.plot([row["R@99"]["mean"]] * 2, [place - 0.35, place + 0.35], color=colour, linewidth=2)
    ax.axvline(n_rounds + 0.5, color="grey", linestyle="--", linewidth=1)
    ax.set(
        yticks=range(len(rows)), xlabel="R@99 (right of the dashes: not reached)", xlim=(0, None)
    )
    ax.set_yticklabels([row["method"] for row in rows])
    ax.invert_yaxis()
    ax.spines[["top", "right"]].set_visible(False)
