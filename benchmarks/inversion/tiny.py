"""The tiny network of the measured runs in the notes, on images of 8 x 8 with three channels.

Only torch is imported, so that the peers' environment can use it too.
"""

from __future__ import annotations

import torch
from torch import nn

CHANNELS, SIZE, N_CLASSES, WIDTH = 3, 8, 10, 32
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid}


def tiny_net(activation: str, seed: int = 1) -> nn.Module:
    """Two convolutions of 32 channels and a dense layer; 30,634 parameters, drawn as torch does."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(CHANNELS, WIDTH, 3, padding=1),
            ACTIVATIONS[activation](),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
            ACTIVATIONS[activation](),
            nn.Flatten(),
            nn.Linear(WIDTH * SIZE * SIZE, N_CLASSES),
        )
