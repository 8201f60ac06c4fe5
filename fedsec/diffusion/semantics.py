"""Whether the same noise means the same image, to a student as to its teacher.

Story       samplers without noise of their own turn each noise into one image. A student that was
            distilled keeps that map, one that was trained from scratch has another; and between
            two noises lie images between theirs.
Measure     mean squared error of pixels for shared noise, one number an image.
Paths       the line, as SFDDM's authors released it, and the great circle (slerp; Shoemake 1985).
            A point halfway on the line between two Gaussian noises is shorter than either, by about
            the square root of 2, so it is no typical noise; one on the circle is as long as they
            are.
Paper       Hong et al., "SFDDM" (2024), arXiv 2405.14961: semantic consistency, interpolation.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fedsec.diffusion.consistency_model import ConsistencyModel
from fedsec.diffusion.model import DiffusionModel
from fedsec.diffusion.objectives import to_pixels
from fedsec.diffusion.samplers import ddim_sample
from fedsec.errors import SettingsError

Image = Float[Tensor, "channel height width"]
Images = Float[Tensor, "sample channel height width"]


def images_of_noise(
    model: DiffusionModel,
    z: Images,
    *,
    times: Int[Tensor, " time"] | None = None,
    steps: int = 1,
    generator: torch.Generator | None = None,
    batch: int = 256,
) -> Images:
    """The images in [0, 1] that a model makes of these noises, by DDIM at eta 0. No gradients.

    times      falling steps of its schedule; all where None
    steps      of a consistency model, which takes no times; more than one needs the generator
    """
    parts = []
    for some in z.to(model.device).split(batch):
        if isinstance(model, ConsistencyModel):
            parts.append(model.sample_from(some, steps=steps, generator=generator))
            continue
        with torch.no_grad():
            found = ddim_sample(model.predict, model.schedule, model.objective, some, times=times)
        parts.append(to_pixels(found).clamp(0, 1))
    return torch.cat(parts)


def semantic_distance(student: Images, teacher: Images) -> Float[Tensor, " sample"]:
    """Mean squared error of each pair of pixels in [0, 1], in float64; both clamped as shown."""
    apart = student.double().clamp(0, 1) - teacher.double().clamp(0, 1)
    return apart.square().flatten(1).mean(dim=1)


def linear(first: Image, second: Image, weights: Float[Tensor, " point"]) -> Images:
    """(1 - w) first + w second."""
    w = weights.to(first).reshape(-1, 1, 1, 1)
    return (1 - w) * first + w * second


def slerp(first: Image, second: Image, weights: Float[Tensor, " point"]) -> Images:
    """On the great circle through both; lengths go linearly from one to the other.

    Raises SettingsError where both lie on one line through zero, which has no circle.
    """
    a, b = first.double(), second.double()
    lengths = a.norm(), b.norm()
    cosine = float((a * b).sum() / (lengths[0] * lengths[1]).clamp_min(1e-300))
    if not abs(cosine) < 1 - 1e-12:
        raise SettingsError("slerp needs two noises that point in different directions")
    angle = torch.arccos(torch.tensor(cosine, dtype=torch.float64, device=a.device))
    w = weights.to(a).reshape(-1, 1, 1, 1)
    on_circle = ((1 - w) * angle).sin() * a / lengths[0] + (w * angle).sin() * b / lengths[1]
    length = (1 - w) * lengths[0] + w * lengths[1]
    return (on_circle / angle.sin() * length).to(first.dtype)


PATHS: dict[str, Callable[[Image, Image, Float[Tensor, " point"]], Images]] = {
    "linear": linear,
    "slerp": slerp,
}


def interpolate_noise(
    first: Image, second: Image, weights: Float[Tensor, " point"], kind: str = "linear"
) -> Images:
    """Noises between two; weight 0 is the first, 1 the second. The authors took 1/8 to 7/8."""
    if kind not in PATHS:
        raise SettingsError(f"path {kind!r} is not one of {', '.join(PATHS)}")
    return PATHS[kind](first, second, weights)
