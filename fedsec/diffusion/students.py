"""What students of all methods share: where they start, and what is a model in the end.

Students are trained by `fedsec.diffusion.distilled.fit`: a method is a loss
of images, steps and noise. What the authors of SFDDM used is `RELEASED`: Adam with rate 2e-4 that
stays, and no average of the parameters.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from jaxtyping import Int
from torch import Tensor, nn

from fedsec.diffusion.model import DiffusionModel, make_denoiser
from fedsec.diffusion.schedule import NoiseSchedule, sub_schedule
from fedsec.errors import SettingsError

STARTS = ("random", "teacher")
RELEASED: dict[str, Any] = {"lr": 2e-4, "decay": "constant", "ema": None}
"""Arguments of `TrainSettings`."""


def start_of(teacher: DiffusionModel, start: str, seed: int) -> nn.Module:
    """A network of the teacher's architecture, with its weights or with those that a seed draws.

    On the teacher's device. Raises SettingsError for another start.
    """
    if start not in STARTS:
        raise SettingsError(f"there is no start {start!r}: choose from {', '.join(STARTS)}")
    if start == "teacher":
        return deepcopy(teacher.net).requires_grad_(True)
    return make_denoiser(teacher.architecture, seed).to(teacher.device)


def told_to(teacher: DiffusionModel, indices: Int[Tensor, " step"]) -> Int[Tensor, " step"]:
    """What the teacher's network is told at these steps: a student may be a teacher in turn."""
    if teacher.time_map is None:
        return indices
    return teacher.time_map.to(indices.device)[indices]


def student_of(
    teacher: DiffusionModel,
    net: nn.Module,
    schedule: NoiseSchedule,
    time_map: Int[Tensor, " step"] | None,
) -> DiffusionModel:
    """A model of the teacher's form with another network and schedule."""
    return DiffusionModel(
        net=net, schedule=schedule, objective=teacher.objective, shape=teacher.shape,
        architecture=teacher.architecture, time_map=time_map,
    )  # fmt: skip


def on_steps(teacher: DiffusionModel, indices: Int[Tensor, " step"]) -> DiffusionModel:
    """The teacher itself as a model of these steps alone: its samples are the best of SFDDM's.

    Raises SettingsError where the indices are no sub-sequence of its steps.
    """
    schedule = sub_schedule(teacher.schedule, indices)
    return student_of(teacher, teacher.net, schedule, told_to(teacher, indices))
