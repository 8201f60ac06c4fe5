"""The figure shows each reconstruction below the image it is matched to."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.testing import assert_allclose

from fedsec.inversion.plots import MOST, side_by_side


def pictures(figure: Figure) -> list[list[np.ndarray | None]]:
    """What the axes show, row by row."""
    rows: dict[float, list[np.ndarray | None]] = {}
    figure.draw_without_rendering()
    for ax in figure.axes:
        shown = np.asarray(ax.images[0].get_array()) if ax.images else None
        rows.setdefault(round(ax.get_position().y0, 3), []).append(shown)
    return [rows[place] for place in sorted(rows, reverse=True)]


def shade(*levels: float) -> torch.Tensor:
    return torch.tensor(levels).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)


def test_rows_are_matched() -> None:
    figure = side_by_side(
        shade(0.3, 0.1), truth=shade(0.1, 0.9, 0.3), match_of=np.array([1, -1, 0]),
        psnr=np.array([40.0, np.nan, 12.34]), title="$a$ <b>",
    )  # fmt: skip
    above, below = pictures(figure)
    assert_allclose([one.mean() for one in above if one is not None], [0.1, 0.9, 0.3], atol=1e-6)
    assert below[1] is None
    assert below[0] is not None and below[2] is not None
    assert_allclose([below[0].mean(), below[2].mean()], [0.1, 0.3], atol=1e-6)
    said = [ax.get_xlabel() for ax in figure.axes]
    assert said[3:] == ["40.0 dB", "none", "12.3 dB"]


def test_without_the_truth_the_nearest_images_stand_below() -> None:
    above, below = pictures(side_by_side(shade(0.2, 0.4), nearest=shade(0.5, 0.6)))
    assert_allclose([one.mean() for one in below if one is not None], [0.5, 0.6], atol=1e-6)
    assert len(above) == 2


def test_many_images_are_cut_and_colours_are_kept() -> None:
    x = torch.rand(MOST + 3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    ((*row,),) = pictures(side_by_side(x))
    assert len(row) == MOST and row[0] is not None
    assert_allclose(row[0], x[0].permute(1, 2, 0).numpy())
