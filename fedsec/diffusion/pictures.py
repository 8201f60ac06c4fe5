"""Images side by side, as one array to write as a PNG."""

from __future__ import annotations

from math import ceil, sqrt
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from fedsec.errors import DataError

GAP = 1  # pixels between images
SIDE = 40  # pixels that an image is enlarged to, or nearly
WHITE = 255


def tiled(
    x: Float[Tensor, "sample channel height width"], columns: int | None = None
) -> UInt8[np.ndarray, "row column colour"]:
    """Images in [0, 1] row by row, on white, each pixel enlarged where images are small.

    As many columns as rows, or nearly, where none are given. Raises DataError for images of other
    than 1 or 3 channels, or none.
    """
    n, channels, height, width = x.shape
    if channels not in (1, 3) or not n:
        raise DataError(
            f"images are {tuple(x.shape)}: pictures are of 1 or 3 channels, and of some"
        )
    across = min(n, ceil(sqrt(n)) if columns is None else columns)
    down = ceil(n / across)
    pixels = (x.detach().clamp(0, 1) * 255).round().cpu().numpy().astype(np.uint8)
    pixels = np.moveaxis(pixels, 1, 3)
    page = np.full((down, height + GAP, across, width + GAP, 3), WHITE, np.uint8)
    for place in range(n):
        page[place // across, :height, place % across, :width] = pixels[place]
    flat = page.reshape(down * (height + GAP), across * (width + GAP), 3)[:-GAP, :-GAP]
    times = max(1, round(SIDE / max(height, width)))
    return flat.repeat(times, axis=0).repeat(times, axis=1)


def write_png(
    path: str | Path, x: Float[Tensor, "sample channel height width"], columns: int | None = None
) -> None:
    """Write `tiled` images as a PNG."""
    from matplotlib.image import imsave

    imsave(path, tiled(x, columns))
