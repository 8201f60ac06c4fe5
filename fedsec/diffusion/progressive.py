"""Progressive distillation: a student whose one step is two of its teacher's, again and again.

Story       a teacher of 2N steps teaches a student of N, which starts from its weights and then
            teaches one of N/2. At a step t the teacher goes on by DDIM to t' and to t''; the target
            is the image with which one DDIM step goes from t to t''.
Steps       the student keeps every second of the teacher's steps, the noisiest one among them, and
            is told the same numbers. So a student of T' = T / 2^j steps ends at step T - 1.
Loss        max(SNR_t, 1) times the squared error of the image, the mean over pixels and images.
            Where SNR is 0 an answer of noise says nothing of the image, so the teacher must answer
            v or x0.
Paper       Salimans and Ho (2022), Progressive distillation for fast sampling of diffusion models,
            algorithm 2 and section 4; arXiv 2202.00512.
Departures  Steps are those of a discrete schedule, where the paper has continuous time. The rate
            falls along a half cosine in each stage, where the paper's falls along a line. The
            teacher's images are held in [-1, 1], as they are when it samples; `clip=False` is not
            to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor, nn

from fedsec.diffusion.distilled import Loss, fit
from fedsec.diffusion.model import DiffusionModel
from fedsec.diffusion.moves import image_that_moves, move
from fedsec.diffusion.objectives import Pictures, Predict, Times, add_noise, estimates
from fedsec.diffusion.progress import checksum
from fedsec.diffusion.schedule import NoiseSchedule, sub_schedule
from fedsec.diffusion.students import on_steps, start_of, student_of, told_to
from fedsec.diffusion.train import TrainHistory, TrainSettings, TrainWatch
from fedsec.errors import SettingsError

ImageAt = Callable[[Tensor, Tensor], Tensor]
"""(x_t, t) -> the image that a denoiser takes x_t for, in model space."""


def image_of(
    predict: Predict,
    schedule: NoiseSchedule,
    objective: str,
    *,
    told: Int[Tensor, " step"] | None = None,
    clip: bool = True,
) -> ImageAt:
    """A denoiser as a function to images; `told` is what it is told in place of each step."""

    def image(x: Tensor, t: Tensor) -> Tensor:
        output = predict(x, t if told is None else told[t])
        found, _ = estimates(schedule, objective, x, t, output)
        return found.clamp(-1, 1) if clip else found

    return image


def two_steps(schedule: NoiseSchedule, image: ImageAt, x: Pictures, t: Times) -> Pictures:
    """x after the DDIM steps from t to t - 1 and to t - 2, by a teacher on `schedule`; t is odd."""
    half = move(schedule, x, image(x, t), t, t - 1)
    return move(schedule, half, image(half, t - 1), t - 1, t - 2)


def progressive_target(schedule: NoiseSchedule, image: ImageAt, x: Pictures, t: Times) -> Pictures:
    """The image with which one DDIM step from t lands where the teacher's two steps do."""
    return image_that_moves(schedule, x, two_steps(schedule, image, x, t), t, t - 2)


def progressive_loss(net: nn.Module, teacher: DiffusionModel, *, clip: bool = True) -> Loss:
    """The loss of a student of half as many steps, of images, its steps j and noise.

    Step j of the student is step 2j + 1 of the teacher. Raises SettingsError where the teacher's
    steps are odd in number, or it answers noise.
    """
    _check(teacher)
    schedule = teacher.schedule.to(teacher.device)
    told = told_to(teacher, torch.arange(schedule.steps, device=teacher.device))
    of_teacher = image_of(teacher.net, schedule, teacher.objective, told=told, clip=clip)
    of_student = image_of(net, schedule, teacher.objective, told=told, clip=False)

    def loss(x0: Tensor, j: Tensor, eps: Tensor) -> Tensor:
        t = 2 * j + 1
        x = add_noise(schedule, x0, t, eps)
        with torch.no_grad():
            wanted = progressive_target(schedule, of_teacher, x, t)
        error = (of_student(x, t) - wanted).square().flatten(1).mean(dim=1)
        return (schedule.snr[t].clamp_min(1).to(error) * error).mean()

    return loss


def halve(
    teacher: DiffusionModel,
    images: Pictures,
    settings: TrainSettings,
    *,
    clip: bool = True,
    checkpoint: Path | None = None,
    watch: TrainWatch | None = None,
) -> tuple[DiffusionModel, TrainHistory]:
    """One stage: a student of half the teacher's steps, from the teacher's weights.

    images  pixels in [0, 1]

    Raises SettingsError where the teacher cannot be halved, or a checkpoint is of another run.
    """
    net = start_of(teacher, "teacher", settings.seed)
    kept = torch.arange(1, teacher.schedule.steps, 2)
    about = {
        "method": "progressive", "to": len(kept), "clip": clip,
        "schedule": checksum(teacher.schedule.alpha_bar),
    }  # fmt: skip
    history = fit(
        net, progressive_loss(net, teacher, clip=clip), images, len(kept), settings,
        about=about, checkpoint=checkpoint, watch=watch,
    )  # fmt: skip
    schedule = sub_schedule(teacher.schedule, kept)
    return student_of(teacher, net, schedule, told_to(teacher, kept)), history


def progressive_distill(
    teacher: DiffusionModel,
    steps: int,
    images: Pictures,
    settings: TrainSettings,
    *,
    indices: Int[Tensor, " step"] | None = None,
    clip: bool = True,
    folder: Path | None = None,
    watch: TrainWatch | None = None,
) -> list[tuple[DiffusionModel, TrainHistory]]:
    """The students of all stages, down to one of `steps`; `settings.steps` is of each stage.

    images   pixels in [0, 1]
    indices  steps of the teacher that the first stage's teacher takes; all of them where None
    folder   holds a checkpoint for each stage, to go on from

    The list ends early where `watch` stops a stage; its last history is then shorter than that.
    Raises SettingsError where halving does not lead to `steps`, or the teacher answers noise.
    """
    if indices is not None:
        teacher = on_steps(teacher, indices)
    n_stages = stages(teacher.schedule.steps, steps)
    _check(teacher)
    found: list[tuple[DiffusionModel, TrainHistory]] = []
    for stage in range(n_stages):
        path = None if folder is None else folder / f"stage-{stage + 1}.safetensors"
        of_stage = replace(settings, seed=settings.seed * n_stages + stage)
        student, history = halve(teacher, images, of_stage, clip=clip, checkpoint=path, watch=watch)
        found.append((student, history))
        if len(history.loss) < settings.steps:
            break
        teacher = student
    return found


def stages(known: int, steps: int) -> int:
    """How often `known` steps are halved to come to `steps`. Raises SettingsError for never."""
    n = (known // steps).bit_length() - 1 if 0 < steps < known else 0
    if n < 1 or steps << n != known:
        possible = [known >> j for j in range(1, known.bit_length()) if known % (1 << j) == 0]
        raise SettingsError(
            f"halving {known} steps does not lead to {steps}: give one of"
            f" {', '.join(map(str, possible)) or 'none, or start from an even number'}"
        )
    return n


def _check(teacher: DiffusionModel) -> None:
    if teacher.schedule.steps % 2:
        raise SettingsError(f"a teacher of {teacher.schedule.steps} steps cannot be halved")
    if teacher.objective == "eps":
        raise SettingsError(
            "progressive distillation needs a teacher that answers v or x0: where next to nothing"
            " of the image is left, an answer of noise says nothing of it"
        )
