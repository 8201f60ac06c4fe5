"""Two convolutions and one dense layer, with batch, group or no normalisation.

Shape       conv, (norm,) ReLU, pool, twice; dense
Paper       "2 conv layers + 1 dense layer" for MNIST, in "Maverick Matters" (arXiv 2106.10734),
            which gives no widths: 32 and 64 with 5 x 5 kernels are those of McMahan et al. (2017).
Departures  Images below 20 x 20, as digits are, get 16 and 32 channels and padded 3 x 3 kernels.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from fedsec.errors import DataError

SMALL = 20  # below it, unpadded 5 x 5 kernels leave too little
GROUPS = 8


def cnn(channels: int, size: int, n_classes: int) -> nn.Module:
    """Without normalisation. 6,090 parameters for digits, 62,346 for 28 x 28."""
    return _two_convolutions(channels, size, n_classes, lambda width: [])


def cnn_bn(channels: int, size: int, n_classes: int) -> nn.Module:
    """With batch normalisation. 6,186 parameters for digits, 62,538 for 28 x 28."""
    return _two_convolutions(channels, size, n_classes, lambda width: [nn.BatchNorm2d(width)])


def cnn_gn(channels: int, size: int, n_classes: int) -> nn.Module:
    """With normalisation in 8 groups of channels. As many parameters as `cnn_bn`."""
    return _two_convolutions(channels, size, n_classes, lambda width: [nn.GroupNorm(GROUPS, width)])


def _two_convolutions(
    channels: int, size: int, n_classes: int, norm: Callable[[int], list[nn.Module]]
) -> nn.Module:
    if size < 4:
        raise DataError(f"images are {size} x {size}: this network needs 4 x 4 or more")
    first, second, kernel, padding = (16, 32, 3, 1) if size < SMALL else (32, 64, 5, 0)
    left = size
    for _ in range(2):
        left = (left + 2 * padding - kernel + 1) // 2
    return nn.Sequential(
        nn.Conv2d(channels, first, kernel, padding=padding),
        *norm(first),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(first, second, kernel, padding=padding),
        *norm(second),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(second * left * left, n_classes),
    )
