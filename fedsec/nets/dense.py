"""Networks without convolutions: logistic regression, and one hidden layer."""

from __future__ import annotations

from torch import nn

HIDDEN = 32


def linear(channels: int, size: int, n_classes: int) -> nn.Module:
    """Logistic regression. 650 parameters for digits, 7,850 for 28 x 28."""
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * size * size, n_classes))


def mlp(channels: int, size: int, n_classes: int) -> nn.Module:
    """One hidden layer of 32 ReLU units. 2,410 parameters for digits, 25,450 for 28 x 28."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * size * size, HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, n_classes),
    )
