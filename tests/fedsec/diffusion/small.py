"""A small teacher and a few images, for tests that train."""

from __future__ import annotations

import torch
from torch import Tensor

from fedsec.diffusion.model import DiffusionModel, new_model
from fedsec.diffusion.schedule import noise_schedule

SMALL = {"kind": "unet", "channels": 1, "width": 8, "mults": [1, 2], "groups": 4}
SHAPE = (1, 4, 4)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def teacher_of(steps: int = 16, objective: str = "v") -> DiffusionModel:
    """Untrained: whatever it answers is what students are to answer."""
    schedule = noise_schedule("sigmoid", steps)
    model = new_model(SMALL, SHAPE, schedule=schedule, objective=objective, seed=3)
    model.net.eval()
    return model


def images(n: int = 12) -> Tensor:
    """Pixels in [0, 1]."""
    return torch.rand(n, *SHAPE, generator=rng(5))
