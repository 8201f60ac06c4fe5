"""Data of which everything is known: normal pixels. The ideal denoiser is linear in x_t."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedsec.diffusion.schedule import NoiseSchedule


@dataclass(frozen=True, eq=False)
class Normal:
    """Pixels with this mean and variance, independent, at the noise levels of a schedule."""

    schedule: NoiseSchedule
    mean: Tensor
    variance: Tensor

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        noise = torch.randn(n, *self.mean.shape, generator=generator, dtype=torch.float64)
        return self.mean + self.variance.sqrt() * noise

    def image(self, x: Tensor, t: Tensor) -> Tensor:
        """E[x_0 | x_t]."""
        a = self.schedule.alpha_bar[t].view(-1, 1, 1, 1)
        gain = self.variance * a.sqrt() / (a * self.variance + 1 - a)
        return self.mean + gain * (x - a.sqrt() * self.mean)

    def flow(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Where the probability flow takes x at t, at step s: quantiles keep their place."""
        a, b = (self.schedule.alpha_bar[at].view(-1, 1, 1, 1) for at in (t, s))
        spread = ((b * self.variance + 1 - b) / (a * self.variance + 1 - a)).sqrt()
        return b.sqrt() * self.mean + spread * (x - a.sqrt() * self.mean)


class Answers(nn.Module):
    """A network of a function to images, which it says in the words of an objective."""

    def __init__(
        self, schedule: NoiseSchedule, objective: str, image: Callable[[Tensor, Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.schedule, self.objective, self.image = schedule, objective, image
        self.idle = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        image = self.image(x, t)
        signal = self.schedule.signal[t].view(-1, 1, 1, 1)
        spread = self.schedule.noise[t].view(-1, 1, 1, 1)
        noise = (x - signal * image) / spread
        return {"x0": image, "eps": noise, "v": signal * noise - spread * image}[self.objective]
