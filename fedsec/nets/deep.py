"""Three or six convolutions and two dense layers.

Paper       "3 conv + 2 dense" for STL-10 and "6 conv + 2 dense" for CIFAR-10, in "Maverick Matters"
            (arXiv 2106.10734), which gives no widths: those here are ours.
"""

from __future__ import annotations

from torch import nn

from fedsec.errors import DataError

HIDDEN = 256


def cnn3(channels: int, size: int, n_classes: int) -> nn.Module:
    """Three of conv, ReLU, pool; 32, 64 and 128 channels. 620,362 parameters for CIFAR-10."""
    return _deep(channels, size, n_classes, ((32,), (64,), (128,)))


def cnn6(channels: int, size: int, n_classes: int) -> nn.Module:
    """Three of conv, ReLU, conv, ReLU, pool; widths as `cnn3`. 814,122 parameters for CIFAR-10."""
    return _deep(channels, size, n_classes, ((32, 32), (64, 64), (128, 128)))


def _deep(
    channels: int, size: int, n_classes: int, widths: tuple[tuple[int, ...], ...]
) -> nn.Module:
    """A pool after each group of padded 3 x 3 convolutions, then two dense layers."""
    left = size // 2 ** len(widths)
    if left < 1:
        least = 2 ** len(widths)
        raise DataError(f"images are {size} x {size}: this network needs {least} x {least} or more")
    layers: list[nn.Module] = []
    seen = channels
    for group in widths:
        for width in group:
            layers += [nn.Conv2d(seen, width, 3, padding=1), nn.ReLU()]
            seen = width
        layers.append(nn.MaxPool2d(2))
    dense = [nn.Flatten(), nn.Linear(seen * left * left, HIDDEN), nn.ReLU()]
    return nn.Sequential(*layers, *dense, nn.Linear(HIDDEN, n_classes))
