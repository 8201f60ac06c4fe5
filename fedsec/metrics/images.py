"""How near an image comes to another one: MSE, PSNR and SSIM, for each pair or for all pairs.

Images are scored as a screen shows them: clamped to [0, 1]. All is computed in float64, whatever
comes in, without gradients; results lie on the device of the images.

PSNR    10 log10(1 / MSE): peak 1, and at most 120 dB, where an exact copy would have infinity
SSIM    Wang, Bovik, Sheikh and Simoncelli (2004), IEEE Trans. Image Processing 13(4), eq. 13:
        Gaussian window 11 x 11 with sigma 1.5, C1 = 0.01^2, C2 = 0.03^2, range 1; the mean over
        the places where the whole window lies in the image (nothing is padded), and over channels

Images below 11 x 11 get the largest odd window that fits, see `window_for`, with the same sigma.
Such values are not those of a window of 11: state the window with the score.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn.functional import conv2d

from fedsec.errors import DataError, SettingsError

CAP = 120.0  # dB
WINDOW = 11
SIGMA = 1.5
C1, C2 = 0.01**2, 0.03**2


def mse(
    found: Float[Tensor, "sample channel height width"],
    truth: Float[Tensor, "_sample _channel _height _width"],
) -> Float64[Tensor, " sample"]:
    """Mean squared error over the pixels and channels of each image."""
    return _mse(*_checked_pairs(found, truth))


def psnr(
    found: Float[Tensor, "sample channel height width"],
    truth: Float[Tensor, "_sample _channel _height _width"],
) -> Float64[Tensor, " sample"]:
    """Peak signal-to-noise ratio of each image in dB, from 0 to 120."""
    return decibels(mse(found, truth))


def ssim(
    found: Float[Tensor, "sample channel height width"],
    truth: Float[Tensor, "_sample _channel _height _width"],
    window: int | None = None,
) -> Float64[Tensor, " sample"]:
    """Structural similarity of each image, 1 for a copy.

    `window` is odd and fits into the image; without one it is `window_for` that size. A window of 1
    sees no structure, brightness alone.
    """
    pair = _checked_pairs(found, truth)
    return _ssim(*pair, window=_checked_window(window, *found.shape[2:]))


def pairwise_mse(
    found: Float[Tensor, "found channel height width"],
    truth: Float[Tensor, "truth _channel _height _width"],
    batch: int = 1024,
) -> Float64[Tensor, "found truth"]:
    """Mean squared error of each with each, `batch` images of `truth` at a time.

    From |a|^2 + |b|^2 - 2ab: up to rounding of 1e-15, far below what the cap of PSNR shows.
    """
    a, truth = _checked(found, truth)
    _check_batch(batch)
    parts = [squared_distances(a.flatten(1), b.flatten(1)) for b in truth.split(batch)]
    return torch.cat(parts, dim=1) / a[0].numel()


def pairwise_psnr(
    found: Float[Tensor, "found channel height width"],
    truth: Float[Tensor, "truth _channel _height _width"],
    batch: int = 1024,
) -> Float64[Tensor, "found truth"]:
    """PSNR of each with each, in dB."""
    return decibels(pairwise_mse(found, truth, batch))


def pairwise_ssim(
    found: Float[Tensor, "found channel height width"],
    truth: Float[Tensor, "truth _channel _height _width"],
    window: int | None = None,
    batch: int = 1024,
) -> Float64[Tensor, "found truth"]:
    """SSIM of each with each, `batch` pairs at a time."""
    a, b = _checked(found, truth)
    _check_batch(batch)
    score = partial(_ssim, window=_checked_window(window, *found.shape[2:]))
    return _in_pairs(score, a, b, batch)


def window_for(height: int, width: int) -> int:
    """Side of the window of SSIM: 11, or the largest odd number that fits; 7 for 8 x 8."""
    side = min(height, width, WINDOW)
    return side if side % 2 else side - 1


def decibels(error: Tensor) -> Tensor:
    """PSNR of each mean squared error, peak 1, at most 120 dB."""
    return -10 * error.clamp_min(10 ** (-CAP / 10)).log10()


def shown(
    images: Float[Tensor, "sample channel height width"],
) -> Float[Tensor, "sample channel height width"]:
    """As a screen shows them: clamped to [0, 1], detached."""
    return images.detach().clamp(0, 1)


def squared_distances(
    a: Float[Tensor, "found feature"], b: Float[Tensor, "truth feature"]
) -> Float[Tensor, "found truth"]:
    """|a_i - b_j|^2, never below 0; give float64, for this is a difference of larger numbers."""
    lengths = a.square().sum(dim=1)[:, None] + b.square().sum(dim=1)
    return torch.addmm(lengths, a, b.T, alpha=-2).clamp_min(0)


def refuse_unusable(images: Float[Tensor, "sample channel height width"], what: str) -> None:
    """Raises DataError where there are no images or pixels, or a pixel is not finite."""
    if not images.numel():
        raise DataError(f"{what}: shape {tuple(images.shape)} holds no pixels: give an image")
    finite = torch.isfinite(images).flatten(1).all(dim=1)
    if not finite.all():
        bad = int((~finite).nonzero()[0])
        raise DataError(
            f"{what}, image {bad}: a pixel is NaN or infinite: it cannot be scored, so leave it out"
        )


def _mse(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().flatten(1).mean(dim=1)


def _ssim(a: Tensor, b: Tensor, window: int) -> Tensor:
    """Moments under the window, then eq. 13, then the mean over places and channels."""
    moments = _blurred(torch.stack([a, b, a * a, b * b, a * b]), window)
    mean_a, mean_b, aa, bb, ab = moments.unbind()
    var_a, var_b, cov = aa - mean_a**2, bb - mean_b**2, ab - mean_a * mean_b
    brightness = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    structure = (2 * cov + C2) / (var_a + var_b + C2)
    return (brightness * structure).flatten(1).mean(dim=1)


def _blurred(x: Tensor, window: int) -> Tensor:
    """Mean under the Gaussian window, which is a product of one down and one across."""
    *outer, height, width = x.shape
    offset = torch.arange(window, device=x.device, dtype=x.dtype) - window // 2
    weight = torch.exp(-(offset**2) / (2 * SIGMA**2))
    weight = weight / weight.sum()
    down = conv2d(x.reshape(-1, 1, height, width), weight.view(1, 1, -1, 1))
    across = conv2d(down, weight.view(1, 1, 1, -1))
    return across.view(*outer, *across.shape[2:])


def _in_pairs(
    score: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor, batch: int
) -> Tensor:
    pairs = torch.arange(len(a) * len(b), device=a.device)
    parts = [score(a[pair // len(b)], b[pair % len(b)]) for pair in pairs.split(batch)]
    return torch.cat(parts).view(len(a), len(b))


def _checked_pairs(found: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    if len(found) != len(truth):
        raise DataError(
            f"{len(found)} reconstructions and {len(truth)} true images: give pairs, or match them"
        )
    return _checked(found, truth)


def _checked(found: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Both as shown, in float64."""
    if found.shape[1:] != truth.shape[1:]:
        raise DataError(
            f"reconstructions are {_form(found)} and true images {_form(truth)}"
            " (channel x height x width): bring them to one form"
        )
    refuse_unusable(found, "reconstructions")
    refuse_unusable(truth, "true images")
    return shown(found).double(), shown(truth).double()


def _checked_window(window: int | None, height: int, width: int) -> int:
    if window is None:
        return window_for(height, width)
    if window < 1 or window % 2 == 0 or window > min(height, width):
        raise SettingsError(
            f"window = {window}: give an odd number from 1 to {min(height, width)}, for images are"
            f" {height} x {width}"
        )
    return window


def _check_batch(batch: int) -> None:
    if batch < 1:
        raise SettingsError(f"batch = {batch}: give at least 1")


def _form(images: Tensor) -> str:
    return " x ".join(map(str, images.shape[1:]))
