"""From noise to images: DDIM with any eta, and DDPM, over any falling list of steps.

Story       Begin with standard normal noise and go down the list. At step t the denoiser gives an
            image and a noise; the next step s takes both with the coefficients that belong to it.
DDIM        x_s = sqrt(a_s) x_0 + sqrt(1 - a_s - sigma^2) eps + sigma z, with a = alpha_bar and
            sigma = eta sqrt((1 - a_t / a_s) (1 - a_s) / (1 - a_t)). eta 0 draws nothing; eta 1 is
            DDPM. After the last step of the list comes s = -1, where a is 1: the image itself.
DDPM        x_s is drawn from q(x_s | x_t, x_0), with the image that the denoiser gives for x_0
Clipping    The image is held in [-1, 1], and the noise is then what is left of x_t:
            "hard"              clamp: no gradient where a pixel is saturated
            "straight-through"  clamp, with the gradient of no clamp
            "tanh"              a smooth bound in place of the clamp: other images
            "none"              nothing
Paper       Song, Meng and Ermon (2021), Denoising diffusion implicit models, eqs. 12 and 16; Ho,
            Jain and Abbeel (2020), algorithm 2, with the smaller of its two variances

Every step is differentiable, and nothing here turns gradients off: that is the caller's to do.
Coefficients are taken in float64 and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recomputed

from fedsec.diffusion.objectives import OBJECTIVES, Pictures, Predict, split
from fedsec.diffusion.schedule import NoiseSchedule
from fedsec.errors import SettingsError

CLIPS = ("hard", "none", "straight-through", "tanh")
LISTS = ("linspace", "leading")

OnStep = Callable[[int, Tensor, Tensor], None]
"""(t, x after the step from t, the image that the denoiser gave at t), all in model space."""


def time_list(steps: int, n: int, kind: str = "linspace") -> Int[Tensor, " time"]:
    """n of the steps 0 to `steps` - 1, falling; the step to -1 is not in the list.

    linspace  the released code's floor of n + 1 even points from -1 to T - 1, without -1: begins
              at T - 1
    leading   multiples of floor(T / n): ends at 0, and begins below T - 1 where n < T

    Raises SettingsError where n is not within 1 to `steps`, or the kind is none of these.
    """
    if not 1 <= n <= steps:
        raise SettingsError(f"{n} sampling steps of {steps}: give 1 to {steps}")
    if kind not in LISTS:
        raise SettingsError(f"there is no list {kind!r}: choose from {', '.join(LISTS)}")
    place = torch.arange(n, 0, -1)
    return place * steps // n - 1 if kind == "linspace" else (place - 1) * (steps // n)


def ddim_sample(
    predict: Predict,
    schedule: NoiseSchedule,
    objective: str,
    z: Pictures,
    *,
    times: Int[Tensor, " time"] | None = None,
    eta: float | int = 0.0,
    generator: torch.Generator | None = None,
    clip: str = "hard",
    time_map: Int[Tensor, " step"] | None = None,
    checkpoint: bool = False,
    on_step: OnStep | None = None,
) -> Pictures:
    """Images in model space from noise z, of z's dtype and device.

    times       steps of the schedule, falling; all of them where None
    eta         0 up to 1: how much of the noise is drawn anew at each step, by `generator`
    time_map    time_map[k] is what `predict` is told in place of k, as for a part of a schedule
    checkpoint  compute each step again on the way back, in place of keeping it: memory of one step

    Raises SettingsError for lists, clips, objectives or eta that are none, and eta without a
    generator.
    """
    if not 0 <= eta <= 1:
        raise SettingsError(f"eta = {eta}: give 0 up to 1")
    if eta > 0 and generator is None:
        raise SettingsError(f"eta = {eta} draws noise: give a generator")
    _check(objective, clip, time_map, schedule.steps)
    x = z
    for step in _steps(schedule, times, time_map):
        sigma = eta * step.sigma
        spread = max(1 - step.a_next - sigma**2, 0.0) ** 0.5

        def move(x: Tensor, step: _Step = step, spread: float = spread) -> tuple[Tensor, Tensor]:
            image, noise = _denoised(predict, objective, x, step, clip)
            if step.next < 0:
                return image, image
            return step.a_next**0.5 * image + spread * noise, image

        if checkpoint:
            x, image = recomputed(move, x, use_reentrant=False, preserve_rng_state=False)
        else:
            x, image = move(x)
        if sigma > 0:
            x = x + sigma * _drawn(x, generator)
        if on_step is not None:
            on_step(step.t, x, image)
    return x


def ddpm_sample(
    predict: Predict,
    schedule: NoiseSchedule,
    objective: str,
    z: Pictures,
    *,
    times: Int[Tensor, " time"] | None = None,
    generator: torch.Generator,
    clip: str = "hard",
    time_map: Int[Tensor, " step"] | None = None,
) -> Pictures:
    """Images in model space from noise z by ancestral sampling, of z's dtype and device.

    Between steps of a list the posterior is that of the chain that visits these alone. Arguments
    and errors are those of `ddim_sample`.
    """
    _check(objective, clip, time_map, schedule.steps)
    x = z
    for step in _steps(schedule, times, time_map):
        image, _ = _denoised(predict, objective, x, step, clip)
        if step.next < 0:
            return image
        kept = step.a / step.a_next
        of_image = (1 - kept) * step.a_next**0.5 / (1 - step.a)
        of_x = (1 - step.a_next) * kept**0.5 / (1 - step.a)
        x = of_image * image + of_x * x + step.sigma * _drawn(x, generator)
    return x


@dataclass(frozen=True)
class _Step:
    """From step t to `next`: what is left of the signal there, and the posterior's deviation."""

    t: int
    told: int
    next: int
    a: float
    a_next: float

    @property
    def sigma(self) -> float:
        return float((1 - self.a / self.a_next) * (1 - self.a_next) / (1 - self.a)) ** 0.5


def _steps(schedule: NoiseSchedule, times: Tensor | None, time_map: Tensor | None) -> list[_Step]:
    """The steps of a list. Raises SettingsError where it does not fall, or leaves the schedule."""
    falling = list(range(schedule.steps))[::-1] if times is None else times.tolist()
    if not falling or not 0 <= falling[-1] <= falling[0] < schedule.steps:
        raise SettingsError(
            f"times are {falling or 'none'}: give steps from {schedule.steps - 1} down to 0"
        )
    for above, below in zip(falling, falling[1:], strict=False):
        if below >= above:
            raise SettingsError(f"times: {above} is followed by {below}: they must fall")
    left = [*schedule.alpha_bar.tolist(), 1.0]  # the last is that of step -1
    told = list(range(schedule.steps)) if time_map is None else time_map.tolist()
    return [
        _Step(t, told[t], s, left[t], left[s])
        for t, s in zip(falling, [*falling[1:], -1], strict=True)
    ]


def _denoised(
    predict: Predict, objective: str, x: Tensor, step: _Step, clip: str
) -> tuple[Tensor, Tensor]:
    """The image within its range, and the noise that is then left in x."""
    t = torch.full((len(x),), step.told, dtype=torch.int64, device=x.device)
    signal, noise = step.a**0.5, (1 - step.a) ** 0.5
    image, left = split(objective, x, predict(x, t), signal, noise)
    if clip == "none":
        return image, left
    image = _clipped(image, clip)
    return image, (x - signal * image) / noise


def _clipped(image: Tensor, clip: str) -> Tensor:
    if clip == "hard":
        return image.clamp(-1, 1)
    if clip == "tanh":
        return image.tanh()
    return image.detach().clamp(-1, 1) + (image - image.detach())  # adds 0, and its gradient


def _drawn(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal noise, drawn where the generator is."""
    where = like.device if generator is None else generator.device
    return torch.randn(like.shape, generator=generator, device=where, dtype=like.dtype).to(like)


def _check(objective: str, clip: str, time_map: Tensor | None, steps: int) -> None:
    for what, given, known in (("objective", objective, OBJECTIVES), ("clip", clip, CLIPS)):
        if given not in known:
            raise SettingsError(f"there is no {what} {given!r}: choose from {', '.join(known)}")
    if time_map is not None and len(time_map) != steps:
        raise SettingsError(
            f"time_map has {len(time_map)} steps, where the schedule has {steps}: give one each"
        )
