"""Small victims, copies and oracles whose answers can be worked out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fedsec.core.functional import State, state_of
from fedsec.stealing.generators import initialised
from fedsec.stealing.oracle import ModelOracle

SHAPE = (1, 8, 8)


def generator(seed: int = 0) -> torch.Generator:
    """Randomness of a test."""
    return torch.Generator().manual_seed(seed)


def images(n: int, seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    """Uniform noise."""
    return torch.rand((n, *shape), generator=generator(seed))


class FirstRow(nn.Module):
    """Two classes: whether the first row is brighter than grey."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([-8.0, 8.0]))

    def forward(self, x: Tensor) -> Tensor:
        """(sample, 2) logits."""
        return (x[:, 0, 0] - 0.5).mean(dim=1, keepdim=True) * self.weight


class Linear(nn.Module):
    """A linear law of the pixels about grey."""

    def __init__(self, n_classes: int, sharpness: float = 8.0) -> None:
        super().__init__()
        self.dense = nn.Linear(64, n_classes, bias=False)
        self.sharpness = sharpness

    def forward(self, x: Tensor) -> Tensor:
        """(sample, class) logits."""
        return self.sharpness * self.dense((x - 0.5).flatten(1))


def linear_victim(n_classes: int = 4, seed: int = 0) -> tuple[nn.Module, State]:
    """A `Linear` of a seed."""
    net = initialised(lambda: Linear(n_classes), generator(seed))
    return net, state_of(net)


def linear_oracle(n_classes: int = 4, seed: int = 0, **settings) -> ModelOracle:
    """What answers for a `linear_victim`."""
    return ModelOracle(*linear_victim(n_classes, seed), SHAPE, n_classes, **settings)


def small_net(n_classes: int = 4, seed: int = 1) -> nn.Module:
    """A convolution with batch normalisation, and a dense layer."""
    return initialised(
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(4 * 16, n_classes),
        ),
        generator(seed),
    )  # fmt: skip


def same_state(first: State, second: State) -> bool:
    """Whether two states are equal to the bit."""
    pairs = ((first.parameters, second.parameters), (first.buffers, second.buffers))
    return all(
        list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a) for a, b in pairs
    )
