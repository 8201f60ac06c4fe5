"""Pictures of criticism, in the manner of `crowdlearn.plots`: blue is predicted, orange is seen."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from crowdlearn.criticism.predictive import LEVEL, Check
from crowdlearn.highlights import plain
from crowdlearn.inference.calibration import Calibration, ecdf_band
from crowdlearn.plots import DARK, ESTIMATED, REFERENCE, SEEN


def predicted_against_seen(ax: Axes, check: Check, most: int = 25) -> None:
    """Predicted intervals of a statistic's entries and what was seen, the least expected on top.

    The `most` with the smallest p, where there are more.
    """
    order = np.argsort(check.p, kind="stable")[:most]
    place = np.arange(len(order))
    ax.hlines(
        place, check.low[order], check.high[order], color=ESTIMATED, alpha=0.45, linewidth=5,
        label=f"predicted, {LEVEL:.0%}",
    )  # fmt: skip
    ax.plot(check.seen[order], place, "o", color=SEEN, markersize=5, label="seen")
    names = [plain(check.entries[entry], 32) for entry in order]
    ax.set_yticks(place, names, fontsize=8, parse_math=False)
    ax.set_ylim(len(order) - 0.4, -0.6)
    ax.set_xlabel(f"{check.statistic} (p {check.p_all:.3f})")
    ax.legend(frameon=False, fontsize=8)
    ax.spines[["top", "right"]].set_visible(False)


def rank_ecdf(ax: Axes, calibration: Calibration, quantity: str) -> None:
    """ECDF of a quantity's ranks less that of uniform ones, with the band of uniform ranks.

    Above zero on the left and below on the right: over-confident. The band holds all ranks at once
    with probability 95 %.
    """
    n_worlds, n_ranks = len(calibration.ranks), calibration.n_ranks
    ranks = calibration.ranks[:, calibration.quantities.index(quantity)]
    uniform = np.arange(1, n_ranks + 2) / (n_ranks + 1)
    low, high = ecdf_band(n_worlds, n_ranks)
    ecdf = np.bincount(ranks, minlength=n_ranks + 1).cumsum() / n_worlds
    ax.fill_between(uniform, low - uniform, high - uniform, color=REFERENCE, alpha=0.3, step="post")
    ax.step(uniform, ecdf - uniform, where="post", color=ESTIMATED)
    ax.axhline(0, color=DARK, linewidth=0.7)
    ax.set_xlim(0, 1)
    ax.set_xlabel(f"rank of the true {plain(quantity, 40)}")
    ax.set_ylabel("share of worlds below, less expected")
    ax.spines[["top", "right"]].set_visible(False)
