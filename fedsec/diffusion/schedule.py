"""How much of an image is left at each step of a diffusion: the noise schedule.

Story       x_t = sqrt(alpha_bar[t]) x_0 + sqrt(1 - alpha_bar[t]) eps, where eps is standard normal
            and alpha_bar falls from nearly 1 (step 0) to nearly 0 (step T - 1)
Chain       q(x_t | x_{t-1}) = N(sqrt(alpha_t) x_{t-1}, beta_t), alpha_t = alpha_bar[t] /
            alpha_bar[t - 1], beta_t = 1 - alpha_t, and alpha_bar[-1] is 1
Posterior   q(x_{t-1} | x_t, x_0) is normal too: its mean is linear in x_0 and x_t
Paper       Ho, Jain and Abbeel (2020), Denoising diffusion probabilistic models, eqs. 2-7; cosine:
            Nichol and Dhariwal (2021), eq. 17; sigmoid: Jabri, Fleet and Chen (2022)
Departures  Every step keeps at least a thousandth of the signal's power (beta <= 0.999), as Nichol
            and Dhariwal have it; linear is stretched to T steps from the 1000 of Ho et al.

All is float64: a float32 copy of 1 - alpha_bar has lost most of its digits where noise is small.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import isfinite

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fedsec.errors import SettingsError

SCHEDULES = ("sigmoid", "cosine", "linear")
MOST_BETA = 0.999
FIRST_BETA, LAST_BETA = 1e-4, 0.02  # of linear, where there are 1000 steps


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """The share of the signal's power that is left at each step, and what follows from it.

    alpha_bar  float64; falls from step 0 to step T - 1, within (0, 1)

    Everything else is float64 of the same length, on the same device. Raises SettingsError where
    alpha_bar is anything else.
    """

    alpha_bar: Float[Tensor, " step"]

    def __post_init__(self) -> None:
        values = self.alpha_bar
        if values.ndim != 1 or not len(values) or values.dtype != torch.float64:
            raise SettingsError(
                f"alpha_bar is {values.dtype} of shape {tuple(values.shape)}: give float64, one"
                " number a step"
            )
        falls = bool((values[1:] < values[:-1]).all())
        if not (falls and 0 < float(values[-1]) and float(values[0]) < 1):
            raise SettingsError(
                f"alpha_bar goes from {float(values[0]):g} to {float(values[-1]):g}: it must fall"
                " at every step, and stay above 0 and below 1"
            )

    @property
    def steps(self) -> int:
        """T."""
        return len(self.alpha_bar)

    @cached_property
    def previous(self) -> Float[Tensor, " step"]:
        """alpha_bar[t - 1]; 1 for the first step."""
        return torch.cat([self.alpha_bar.new_ones(1), self.alpha_bar[:-1]])

    @cached_property
    def alpha(self) -> Float[Tensor, " step"]:
        """alpha_bar[t] / alpha_bar[t - 1]."""
        return self.alpha_bar / self.previous

    @cached_property
    def beta(self) -> Float[Tensor, " step"]:
        """1 - alpha: variance that a step adds."""
        return 1 - self.alpha

    @cached_property
    def signal(self) -> Float[Tensor, " step"]:
        """sqrt(alpha_bar): what x_0 is scaled by."""
        return self.alpha_bar.sqrt()

    @cached_property
    def noise(self) -> Float[Tensor, " step"]:
        """sqrt(1 - alpha_bar): standard deviation of the noise in x_t."""
        return (1 - self.alpha_bar).sqrt()

    @cached_property
    def snr(self) -> Float[Tensor, " step"]:
        """alpha_bar / (1 - alpha_bar)."""
        return self.alpha_bar / (1 - self.alpha_bar)

    @cached_property
    def posterior_variance(self) -> Float[Tensor, " step"]:
        """Of q(x_{t-1} | x_t, x_0); 0 for the first step."""
        return self.beta * (1 - self.previous) / (1 - self.alpha_bar)

    @cached_property
    def posterior_mean_x0(self) -> Float[Tensor, " step"]:
        """What x_0 is scaled by in the mean of q(x_{t-1} | x_t, x_0)."""
        return self.beta * self.previous.sqrt() / (1 - self.alpha_bar)

    @cached_property
    def posterior_mean_xt(self) -> Float[Tensor, " step"]:
        """What x_t is scaled by in the mean of q(x_{t-1} | x_t, x_0)."""
        return (1 - self.previous) * self.alpha.sqrt() / (1 - self.alpha_bar)

    def to(self, device: torch.device | str) -> NoiseSchedule:
        """The same schedule on a device."""
        if self.alpha_bar.device == torch.device(device):
            return self
        return NoiseSchedule(self.alpha_bar.to(device))


def noise_schedule(
    kind: str = "sigmoid",
    steps: int = 16,
    *,
    start: float | int = -3.0,
    end: float | int = 3.0,
    tau: float | int = 1.0,
) -> NoiseSchedule:
    """A schedule of the table SCHEDULES with T = `steps` steps.

    `start`, `end` and `tau` are of sigmoid alone: the stretch of the sigmoid, and its width.
    Raises SettingsError for another kind, no step, or a sigmoid that does not fall.
    """
    if kind not in SCHEDULES:
        raise SettingsError(f"there is no schedule {kind!r}: choose from {', '.join(SCHEDULES)}")
    if steps < 1:
        raise SettingsError(f"steps = {steps}: give at least 1")
    if kind == "linear":
        scale = 1000 / steps
        beta = torch.linspace(scale * FIRST_BETA, scale * LAST_BETA, steps, dtype=torch.float64)
    else:
        at = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
        left = _cosine(at) if kind == "cosine" else _sigmoid(at, start, end, tau)
        beta = 1 - left[1:] / left[:-1]
    return NoiseSchedule(torch.cumprod(1 - beta.clamp(0, MOST_BETA), dim=0))


def sub_schedule(schedule: NoiseSchedule, indices: Int[Tensor, " step"]) -> NoiseSchedule:
    """The schedule of the chain that visits these steps alone: exactly alpha_bar[indices].

    A part of a Markov chain is Markov, so its transitions and posteriors are those of the whole
    chain between the steps that are left. Raises SettingsError where the indices do not rise, or
    leave 0 to T - 1.
    """
    if not len(indices):
        raise SettingsError("indices: give at least one step")
    low, high = int(indices.min()), int(indices.max())
    if low < 0 or high >= schedule.steps:
        raise SettingsError(
            f"indices go from {low} to {high}: the schedule has the steps 0 to {schedule.steps - 1}"
        )
    falls = torch.nonzero(indices[1:] <= indices[:-1])
    if len(falls):
        at = int(falls[0])
        raise SettingsError(
            f"indices: {int(indices[at])} is followed by {int(indices[at + 1])}: they must rise"
        )
    return NoiseSchedule(schedule.alpha_bar[indices.to(schedule.alpha_bar.device)])


def _cosine(at: Float[Tensor, " time"]) -> Float[Tensor, " time"]:
    return torch.cos((at + 0.008) / 1.008 * torch.pi / 2) ** 2


def _sigmoid(
    at: Float[Tensor, " time"], start: float | int, end: float | int, tau: float | int
) -> Float[Tensor, " time"]:
    """A sigmoid from `start` to `end`, scaled to go from 1 to 0."""
    if not (all(map(isfinite, (start, end, tau))) and start < end and tau > 0):
        raise SettingsError(
            f"sigmoid from {start} to {end} with tau = {tau}: start must be below end, and tau"
            " above 0"
        )
    high = torch.sigmoid(at.new_tensor(end / tau))
    low = torch.sigmoid(at.new_tensor(start / tau))
    return (high - torch.sigmoid((at * (end - start) + start) / tau)) / (high - low)
