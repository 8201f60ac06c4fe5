"""Baselines as the authors of SFDDM released them: variants that are not the published methods.

Story       their comparison trained progressive and consistency students by short losses of their
            own. These stand here under names that say so, for who wants to compare with their
            tables; the published methods are in `progressive` and `consistency`.
Progressive the student has a sigmoid schedule of its own, so at step t it sees another noise level
            than its teacher at 2t; the target is one answer of the teacher, not two DDIM steps.
Distillation
            noise is added with standard deviation t + 1 and the image is not scaled down, which a
            variance-preserving teacher was never shown; the target is the student itself, not an
            average; and nothing makes f(x, 0) be x.
Training    the loss on noise, plus agreement between answers at t and t + 1.
Source      read from the authors' code (repository SFDDM_Diffusion_Distillation, commit 9b1992f)
            as notes, not copied; how the correction step divides is reconstructed here.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import mse_loss

from fedsec.diffusion.objectives import Pictures, Predict, Times, add_noise
from fedsec.diffusion.schedule import NoiseSchedule
from fedsec.errors import SettingsError


def released_progressive_loss(
    student: Predict,
    teacher: Predict,
    student_schedule: NoiseSchedule,
    teacher_schedule: NoiseSchedule,
    x0: Pictures,
    t: Times,
    eps: Pictures,
) -> Float[Tensor, ""]:
    """Squared error between the student's answer at t and the teacher's at 2t, the same noise.

    Raises SettingsError where the teacher has not twice the student's steps.
    """
    if teacher_schedule.steps != 2 * student_schedule.steps:
        raise SettingsError(
            f"a teacher of {teacher_schedule.steps} steps and a student of"
            f" {student_schedule.steps}: the released loss needs twice as many"
        )
    with torch.no_grad():
        wanted = teacher(add_noise(teacher_schedule, x0, 2 * t, eps), 2 * t)
    return mse_loss(student(add_noise(student_schedule, x0, t, eps), t), wanted)


def released_consistency_distillation_loss(
    student: Predict, teacher: Predict, x0: Pictures, t: Times, eps: Pictures
) -> Float[Tensor, ""]:
    """Squared error of the student's answers before and after a step of size 1 along the teacher's.

    The networks answer images; t is 1 or more. The input is x0 + (t + 1) eps; the step goes from it
    towards the teacher's image by 1 part in t + 1.
    """
    level = (t + 1).to(x0).view(-1, 1, 1, 1)
    x = x0 + level * eps
    with torch.no_grad():
        before = x - (x - teacher(x, t)) / level
        wanted = student(before, t - 1)
    return mse_loss(student(x, t), wanted)


def released_consistency_training_loss(
    student: Predict, schedule: NoiseSchedule, x0: Pictures, t: Times, eps: Pictures
) -> Float[Tensor, ""]:
    """The noise loss at t, plus the squared error between answers at t and t + 1, the same noise.

    The network answers noise; t is at most T - 2. Gradients go to both answers, as released.
    """
    here = student(add_noise(schedule, x0, t, eps), t)
    further = student(add_noise(schedule, x0, t + 1, eps), t + 1)
    return mse_loss(here, eps) + mse_loss(here, further)
