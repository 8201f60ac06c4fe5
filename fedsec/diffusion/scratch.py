"""A model of few steps trained from scratch: the row that tells what distillation is worth.

Story       the student's schedule, the ordinary loss on data, no teacher: only the noise levels,
            the form of the network and what it is asked for are the teacher's. This is the "from
            scratch" of SFDDM's authors. The same loop as the distillations, so that equal steps are
            equal steps.
"""

from __future__ import annotations

from pathlib import Path

from jaxtyping import Int
from torch import Tensor

from fedsec.diffusion.model import DiffusionModel
from fedsec.diffusion.objectives import Pictures
from fedsec.diffusion.schedule import sub_schedule
from fedsec.diffusion.students import start_of, student_of
from fedsec.diffusion.train import TrainHistory, TrainSettings, TrainWatch, train


def train_from_scratch(
    teacher: DiffusionModel,
    indices: Int[Tensor, " step"],
    images: Pictures,
    settings: TrainSettings,
    *,
    checkpoint: Path | None = None,
    watch: TrainWatch | None = None,
) -> tuple[DiffusionModel, TrainHistory]:
    """A model on the teacher's noise levels `indices` that never asks the teacher.

    images  pixels in [0, 1]

    Raises SettingsError where the indices are no sub-sequence, or a checkpoint is of another run.
    """
    schedule = sub_schedule(teacher.schedule, indices)
    start = student_of(teacher, start_of(teacher, "random", settings.seed), schedule, None)
    return train(start, images, settings, checkpoint=checkpoint, watch=watch)
