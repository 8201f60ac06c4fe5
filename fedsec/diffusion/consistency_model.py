"""A consistency model: it names the end of a path at once, and samples in one step or several.

Story       the probability flow takes every x_t along a path to its end at step 0; f(x, t) is that
            end.
Boundary    f(x, t) = cos(d) x - sin(d) v(x, t), with d = angle(t) - angle(0) and tan(angle) noise
            over signal. So f(x, 0) is x exactly, whatever the network says. It is the DDIM step
            from t to 0 with the network's answer: for a variance-preserving schedule what c_skip
            and c_out of the paper are for steps that only add variance.
Sampling    f of pure noise; then, as often as wanted, noise is added again and f taken of it.
Paper       Song, Dhariwal, Chen and Sutskever (2023), Consistency models, section 3 and algorithm
            1; arXiv 2303.01469.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from safetensors import safe_open
from torch import Tensor

from fedsec.diffusion.model import DiffusionModel, load_model, save_model
from fedsec.diffusion.objectives import (
    Pictures,
    Predict,
    Times,
    estimates,
    levels,
    to_pixels,
)
from fedsec.diffusion.schedule import NoiseSchedule
from fedsec.diffusion.subsequence import trailing
from fedsec.errors import SettingsError

SAMPLER = "consistency"

End = Callable[[Tensor, Tensor], Tensor]
"""(x_t, t) -> where its path ends, at step 0, in model space."""


def path_end(
    predict: Predict,
    schedule: NoiseSchedule,
    objective: str,
    x: Pictures,
    t: Times,
    *,
    told: Int[Tensor, " step"] | None = None,
) -> Pictures:
    """f(x, t), in model space; x itself where t is 0."""
    output = predict(x, t if told is None else told[t])
    image, noise = estimates(schedule, objective, x, t, output)
    angles = torch.atan2(schedule.noise, schedule.signal)
    turned = (angles - angles[0])[t].view(-1, 1, 1, 1)
    signal_t, noise_t = levels(schedule, t, x)
    v = signal_t * noise - noise_t * image
    return turned.cos().to(x) * x - turned.sin().to(x) * v


@dataclass(frozen=True, eq=False)
class ConsistencyModel(DiffusionModel):
    """A model whose network is asked for ends of paths; `objective` says in which words."""

    def to(self, device: torch.device | str) -> ConsistencyModel:
        """This model with its network moved to a device, in place, and its schedule there."""
        return _as_consistency(super().to(device))

    def sample(
        self,
        n: int,
        *,
        steps: int | None = None,
        eta: float | int = 0.0,
        generator: torch.Generator,
        batch: int = 256,
    ) -> Pictures:
        """n new images in [0, 1] in `steps` steps, 1 where None; `batch` at a time. No gradients.

        All noise is drawn where the generator is. Raises SettingsError for numbers out of their
        range, and for an eta: noise is added between steps anyhow.
        """
        if n < 1 or batch < 1:
            raise SettingsError(f"n = {n}, batch = {batch}: give at least 1")
        if eta:
            raise SettingsError(f"eta = {eta} has no effect on a consistency model: leave it out")
        z = torch.randn(n, *self.shape, generator=generator, device=generator.device)
        parts = [
            self.sample_from(some, steps=1 if steps is None else steps, generator=generator)
            for some in z.to(self.device).split(batch)
        ]
        return torch.cat(parts)

    def sample_from(
        self, z: Pictures, *, steps: int, generator: torch.Generator | None = None
    ) -> Pictures:
        """The images in [0, 1] of this noise; more than one step needs a generator."""
        times = trailing(self.schedule.steps, steps).flip(0)
        with torch.no_grad():
            found = consistency_sample(
                self.predict, self.schedule, self.objective, z, times=times, generator=generator
            )
        return to_pixels(found).clamp(0, 1)


def consistency_sample(
    predict: Predict,
    schedule: NoiseSchedule,
    objective: str,
    z: Pictures,
    *,
    times: Int[Tensor, " time"],
    generator: torch.Generator | None = None,
    told: Int[Tensor, " step"] | None = None,
) -> Pictures:
    """Images in model space, held in [-1, 1], from noise z at step times[0].

    times      falling steps of the schedule: a step of sampling each. Noise is added again before
               all but the first, by `generator`
    told       what `predict` is told in place of each step

    Raises SettingsError where the times do not fall within the schedule, or noise has no generator.
    """
    falling = times.tolist()
    if not falling or falling != sorted(set(falling), reverse=True):
        raise SettingsError(f"times are {falling or 'none'}: give steps that fall")
    if len(falling) > 1 and generator is None:
        raise SettingsError(f"{len(falling)} steps draw noise between them: give a generator")
    signal = schedule.signal.tolist()
    x = z
    for place, time in enumerate(falling):
        if place:
            assert generator is not None
            kept = signal[time] / signal[0]
            fresh = torch.randn(
                z.shape, generator=generator, device=generator.device, dtype=z.dtype
            )
            x = kept * x + (1 - kept**2) ** 0.5 * fresh.to(z)
        t = torch.full((len(z),), time, dtype=torch.int64, device=z.device)
        x = path_end(predict, schedule, objective, x, t, told=told).clamp(-1, 1)
    return x


def save_student(
    path: str | Path, model: DiffusionModel, record: Mapping[str, Any] | None = None
) -> None:
    """Write a model of any method, as `save_model` does, so that `load_student` knows its kind."""
    kind = {"sampler": SAMPLER} if isinstance(model, ConsistencyModel) else {}
    save_model(path, model, {**(record or {}), **kind})


def load_student(path: str | Path) -> DiffusionModel:
    """Read what `save_student` or `save_model` wrote. Raises DataError as `load_model` does."""
    model = load_model(path)
    with safe_open(Path(path).expanduser(), framework="pt") as file:
        about = json.loads(file.metadata()["fedsec"])
    if about.get("record", {}).get("sampler") != SAMPLER:
        return model
    return _as_consistency(model)


def _as_consistency(model: DiffusionModel) -> ConsistencyModel:
    return ConsistencyModel(**{field.name: getattr(model, field.name) for field in fields(model)})
