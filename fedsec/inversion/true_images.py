"""A client's true images in an npz file, to score reconstructions against."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fedsec.data.images import Images
from fedsec.errors import DataError
from fedsec.inversion.files import read_tensors

UNKNOWN = -1  # the label of an image whose class is not told


def read_truth(path: str | Path, shape: tuple[int, int, int], n_classes: int) -> Images:
    """Images (`x`), and their labels (`y`), all `UNKNOWN` where the file has none.

    `x` is (sample, height, width), or with a channel axis behind; uint8, or floats in [0, 1].
    Raises DataError, which names the file, where it is something else, or images are not of this
    shape (channel, height, width).
    """
    stored = read_tensors(path).tensors
    if "x" not in stored:
        raise DataError(
            f"{path}: has no array 'x', only {', '.join(stored) or 'none'}: save the images by"
            " numpy.savez(path, x=images, y=labels)"
        )
    x = _pixels(f"{path}: x", stored["x"].numpy())
    if tuple(x.shape[1:]) != shape:
        raise DataError(
            f"{path}: x holds images of {_form(x.shape[1:])}, and the data set of {_form(shape)}"
            " (channel x height x width)"
        )
    if "y" not in stored:
        return Images(x, torch.full((len(x),), UNKNOWN))
    y = stored["y"]
    if y.shape != (len(x),) or y.is_floating_point():
        raise DataError(f"{path}: y is {y.dtype} of shape {tuple(y.shape)}: give {len(x)} classes")
    if len(y) and not 0 <= int(y.min()) <= int(y.max()) < n_classes:
        raise DataError(
            f"{path}: y goes from {y.min()} to {y.max()}: classes are 0 to {n_classes - 1}"
        )
    return Images(x, y.long())


def to_arrays(x: Float[Tensor, "sample channel height width"]) -> np.ndarray:
    """Images as `read_truth` takes them: the channel axis behind, or none where there is one."""
    pixels: np.ndarray = x.detach().cpu().numpy()
    return pixels[:, 0] if pixels.shape[1] == 1 else np.moveaxis(pixels, 1, 3)


def _pixels(where: str, x: np.ndarray) -> Tensor:
    if x.ndim not in (3, 4) or 0 in x.shape:
        raise DataError(
            f"{where} has shape {x.shape}: give (sample, height, width), or (sample, height, width,"
            " 3) for colour"
        )
    if x.dtype == np.uint8:
        pixels = x.astype(np.float32) / 255
    elif np.issubdtype(x.dtype, np.floating):
        pixels = x.astype(np.float32)
    else:
        raise DataError(f"{where} is {x.dtype}: save uint8, or floats in [0, 1]")
    if not np.isfinite(pixels).all() or pixels.min() < 0 or pixels.max() > 1:
        raise DataError(f"{where}: pixels are not all in [0, 1]: scale them, or save uint8")
    shaped = pixels[:, None] if x.ndim == 3 else np.moveaxis(pixels, 3, 1)
    return torch.from_numpy(np.ascontiguousarray(shaped))


def _form(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
