"""From scratch is ordinary training on the student's steps: no teacher is asked."""

from __future__ import annotations

import torch
from torch import nn

from fedsec.diffusion.model import DiffusionModel, make_denoiser
from fedsec.diffusion.schedule import sub_schedule
from fedsec.diffusion.scratch import train_from_scratch
from fedsec.diffusion.subsequence import leading
from fedsec.diffusion.train import TrainSettings, train
from tests.fedsec.diffusion.small import SMALL, images, teacher_of


class Silent(nn.Module):
    """A teacher that must not be asked."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        raise AssertionError("asked")


def test_it_is_ordinary_training_on_the_sub_schedule() -> None:
    of, indices = teacher_of(16), leading(16, 4)
    silent = DiffusionModel(Silent(), of.schedule, "v", of.shape, SMALL)
    settings = TrainSettings(steps=4, batch=4, ema=None, seed=2)
    found, history = train_from_scratch(silent, indices, images(), settings)
    start = DiffusionModel(
        make_denoiser(SMALL, 2), sub_schedule(of.schedule, indices), "v", of.shape, SMALL
    )
    expected, same = train(start, images(), settings)
    assert (history.loss == same.loss).all() and found.time_map is None
    for one, other in zip(found.net.parameters(), expected.net.parameters(), strict=True):
        assert torch.equal(one, other)
