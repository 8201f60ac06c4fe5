"""One DDIM step, of images that each stand at a step of their own, and its inverse.

Story       x_t and an image together say which noise is left in x_t; at another step s the same
            two are mixed anew: x_s = a_s image + n_s (x_t - a_t image) / n_t, with a the square
            root of alpha_bar and n of what it leaves of 1. Step -1 is the image itself.
Inverse     which image makes one step go from x_t to a given x_s: the target of progressive
            distillation.
Paper       Song, Meng and Ermon (2021), eq. 12 with sigma 0; Salimans and Ho (2022), appendix G.

Coefficients are taken in float64 and rounded once. Nothing is clipped.
"""

from __future__ import annotations

from torch import Tensor

from fedsec.diffusion.objectives import Pictures, Times, levels
from fedsec.diffusion.schedule import NoiseSchedule


def move(schedule: NoiseSchedule, x: Pictures, image: Pictures, t: Times, s: Times) -> Pictures:
    """x at the steps s < t, -1 among them, given x at t and what the image is taken for."""
    ratio, gain = _coefficients(schedule, t, s, x)
    return ratio * x + gain * image


def image_that_moves(
    schedule: NoiseSchedule, x: Pictures, reached: Pictures, t: Times, s: Times
) -> Pictures:
    """The image with which `move` takes x at t to `reached` at s."""
    ratio, gain = _coefficients(schedule, t, s, x)
    return (reached - ratio * x) / gain


def _coefficients(
    schedule: NoiseSchedule, t: Times, s: Times, like: Tensor
) -> tuple[Tensor, Tensor]:
    """(n_s / n_t, a_s - a_t n_s / n_t), rounded to the dtype of `like`.

    The second one is above 0 for s < t, so that the inverse exists: signal falls, noise grows.
    """
    exact = like.new_empty(0).double()
    signal, noise = levels(schedule, t, exact)
    last = (s < 0).to(exact.device).view(-1, 1, 1, 1)
    signal_s, noise_s = levels(schedule, s.clamp_min(0), exact)
    signal_s, noise_s = signal_s.masked_fill(last, 1.0), noise_s.masked_fill(last, 0.0)
    ratio = noise_s / noise
    return ratio.to(like), (signal_s - signal * ratio).to(like)
