"""Reconstructions beside what they are of, as one figure."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from fedsec.plots import DARK

MOST = 16  # images that are drawn
MISSING = "#e5e8ec"


def side_by_side(
    found: Float[Tensor, "found channel height width"],
    *,
    truth: Float[Tensor, "truth channel height width"] | None = None,
    match_of: Int[np.ndarray, " truth"] | None = None,
    psnr: Float[np.ndarray, " truth"] | None = None,
    nearest: Float[Tensor, "found channel height width"] | None = None,
    title: str = "",
) -> Figure:
    """True images above, matched reconstructions with their PSNR below; the first `MOST` of them.

    match_of  of each true image the index of its reconstruction, -1 for none
    nearest   without the truth: the training image that is nearest to each reconstruction
    """
    if truth is not None and match_of is not None:
        rows = [
            ("true", [one for one in truth], [""] * len(truth)),
            (
                "rebuilt",
                [found[int(at)] if at >= 0 else None for at in match_of],
                [""] * len(truth) if psnr is None else [_decibels(one) for one in psnr],
            ),
        ]
    else:
        rows = [("rebuilt", [one for one in found], [""] * len(found))]
        if nearest is not None:
            rows.append(("nearest", [one for one in nearest], [""] * len(found)))
    n = min(len(rows[0][1]), MOST)
    figure = Figure(figsize=(1.2 + 1.15 * n, 0.55 + 1.35 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), n, squeeze=False)
    for line, (name, images, texts) in zip(axes, rows, strict=True):
        for ax, image, text in zip(line, images, texts, strict=False):
            _picture(ax, image, text)
        line[0].set_ylabel(name, fontsize=10, color=DARK)
    if title:
        figure.suptitle(title, fontsize=10, color=DARK, parse_math=False)
    return figure


def _picture(ax: Axes, image: Tensor | None, text: str) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_color(MISSING)
    if image is None:
        ax.set_facecolor(MISSING)
        ax.set_aspect("equal")
    else:
        pixels = image.detach().clamp(0, 1).cpu().numpy()
        shown = pixels[0] if len(pixels) == 1 else np.moveaxis(pixels[:3], 0, 2)
        ax.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    if text:
        ax.set_xlabel(text, fontsize=9, color=DARK, labelpad=2)


def _decibels(value: float) -> str:
    return "none" if np.isnan(value) else f"{value:.1f} dB"
