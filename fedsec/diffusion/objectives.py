"""What a denoiser is asked for, and what its answer says of the image and of the noise.

Story       x_t = s x_0 + n eps, with s = sqrt(alpha_bar[t]) and n = sqrt(1 - alpha_bar[t])
Objectives  eps   the noise
            v     s eps - n x_0
            x0    the image
            With x_t known, each is a linear function of each other one.
Loss        mean over the pixels of the squared error, times w_t, mean over the images
Paper       eps, x0: Ho, Jain and Abbeel (2020), section 3.2; v: Salimans and Ho (2022), Progressive
            distillation for fast sampling of diffusion models, section 4 and appendix D
Weights     "authors" are those of the code of SFDDM and GIDM (and of lucidrains'
            denoising-diffusion-pytorch 1.9.4, which both use): w_t = 1 for eps, SNR for x0,
            SNR / (SNR + 1) = alpha_bar for v. So v is weighed down where noise prevails.

Images are in model space, [-1, 1]. Coefficients are taken in float64 and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.nn.functional import mse_loss

from fedsec.diffusion.schedule import NoiseSchedule
from fedsec.errors import SettingsError

OBJECTIVES = ("eps", "v", "x0")
WEIGHTS = ("authors", "none")

Pictures = Float[Tensor, "sample channel height width"]
Times = Int[Tensor, " sample"]
Weight = Literal["authors", "none"]

Predict = Callable[[Tensor, Tensor], Tensor]
"""(x_t in model space, t as int64, one an image) -> what the objective asks for, formed as x_t."""


def to_model_space(x: Pictures) -> Pictures:
    """From [0, 1] to [-1, 1]."""
    return 2 * x - 1


def to_pixels(x: Pictures) -> Pictures:
    """From [-1, 1] to [0, 1]; nothing is clamped."""
    return (x + 1) / 2


def levels(schedule: NoiseSchedule, t: Times, like: Tensor) -> tuple[Tensor, Tensor]:
    """(s, n) of each image, as (sample, 1, 1, 1) of `like`'s dtype and device.

    Raises SettingsError for a step that the schedule does not have, where that can be seen: not on
    a GPU, for which one would have to wait, nor under `vmap`.
    """
    if t.device.type == "cpu" and len(t) and not is_functorch_wrapped_tensor(t):
        low, high = (int(bound) for bound in torch.aminmax(t))
        if low < 0 or high >= schedule.steps:
            raise SettingsError(
                f"t goes from {low} to {high}: the schedule has the steps 0 to {schedule.steps - 1}"
            )
    at = t.to(schedule.alpha_bar.device)
    signal, noise = schedule.signal[at], schedule.noise[at]
    return signal.to(like).view(-1, 1, 1, 1), noise.to(like).view(-1, 1, 1, 1)


def add_noise(schedule: NoiseSchedule, x0: Pictures, t: Times, eps: Pictures) -> Pictures:
    """x_t, of x0's dtype. Raises SettingsError for a step that there is not."""
    signal, noise = levels(schedule, t, x0)
    return signal * x0 + noise * eps


def target(
    schedule: NoiseSchedule, objective: str, x0: Pictures, t: Times, eps: Pictures
) -> Pictures:
    """What a denoiser should answer. Raises SettingsError for an objective that there is not."""
    _check(objective)
    if objective == "eps":
        return eps
    if objective == "x0":
        return x0
    signal, noise = levels(schedule, t, x0)
    return signal * eps - noise * x0


def estimates(
    schedule: NoiseSchedule, objective: str, x_t: Pictures, t: Times, output: Pictures
) -> tuple[Pictures, Pictures]:
    """(x_0, eps) that an answer stands for, so that s x_0 + n eps = x_t.

    Raises SettingsError for an objective that there is not.
    """
    return split(objective, x_t, output, *levels(schedule, t, x_t))


def split(
    objective: str, x_t: Tensor, output: Tensor, signal: Tensor | float, noise: Tensor | float
) -> tuple[Tensor, Tensor]:
    """`estimates` with s and n given. Raises SettingsError as it does."""
    _check(objective)
    if objective == "eps":
        return (x_t - noise * output) / signal, output
    if objective == "x0":
        return output, (x_t - signal * output) / noise
    return signal * x_t - noise * output, signal * output + noise * x_t


def weights(schedule: NoiseSchedule, objective: str, t: Times) -> Float[Tensor, " sample"]:
    """w_t of the "authors", float64, on the schedule's device."""
    _check(objective)
    at = t.to(schedule.alpha_bar.device)
    if objective == "v":
        return schedule.alpha_bar[at]
    return schedule.snr[at] if objective == "x0" else schedule.alpha_bar.new_ones(len(at))


def diffusion_loss(
    predict: Predict,
    schedule: NoiseSchedule,
    objective: str,
    x0: Pictures,
    t: Times,
    eps: Pictures,
    *,
    weight: str = "authors",
) -> Float[Tensor, ""]:
    """The loss of images x0, in model space, at steps t with noise eps; its gradient can be
    differentiated again where `predict` can.

    Raises SettingsError for an objective, a weight or a step that there is not.
    """
    _check(objective)
    if weight not in WEIGHTS:
        raise SettingsError(f"there is no weight {weight!r}: choose from {', '.join(WEIGHTS)}")
    signal, noise = levels(schedule, t, x0)
    output = predict(signal * x0 + noise * eps, t)
    asked = signal * eps - noise * x0 if objective == "v" else {"eps": eps, "x0": x0}[objective]
    if weight == "none" or objective == "eps":
        return mse_loss(output, asked)
    by_sample = (output - asked).square().flatten(1).mean(dim=1)
    return (by_sample * weights(schedule, objective, t).to(by_sample)).mean()


def _check(objective: str) -> None:
    if objective not in OBJECTIVES:
        raise SettingsError(
            f"there is no objective {objective!r}: choose from {', '.join(OBJECTIVES)}"
        )
