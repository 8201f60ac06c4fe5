"""Consistency distillation (CD) and training (CT): one step from any noise level to the image.

Story       the teacher's probability flow takes every x_t along a path to its end at step 0. The
            student f(x, t) is to name that end at once, so it must say the same for two points of
            one path: f(x_{n+1}, t_{n+1}) = f'(x_n, t_n), where f' is a moving average of f.
Boundary    f(x, 0) is x, exactly: see `consistency_model`.
CD          x_n is one DDIM step of the teacher from x_{n+1}; starts from the teacher's weights.
CT          x_n has the same image and the same noise; no teacher. The grid grows from `s0` to `s1`
            intervals, and the average slows down with it.
Paper       Song, Dhariwal, Chen and Sutskever (2023), Consistency models, algorithms 2 and 3 and
            appendix C; arXiv 2303.01469.
Departures  Steps of a variance-preserving schedule, even in their numbers; DDIM in place of Heun's
            step; squared errors in place of LPIPS, which the paper compares too. The average is the
            model that is returned.
"""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from fedsec.diffusion.consistency_model import ConsistencyModel, End, path_end
from fedsec.diffusion.distilled import Loss, fit
from fedsec.diffusion.model import DiffusionModel
from fedsec.diffusion.moves import move
from fedsec.diffusion.objectives import Pictures, Times, add_noise
from fedsec.diffusion.progress import checksum
from fedsec.diffusion.progressive import ImageAt, image_of
from fedsec.diffusion.schedule import NoiseSchedule
from fedsec.diffusion.students import start_of, told_to
from fedsec.diffusion.subsequence import linspace
from fedsec.diffusion.train import TrainHistory, TrainSettings, TrainWatch
from fedsec.errors import SettingsError

DRAWN_FROM = 2**40  # numbers that CT draws its places from: many times any grid


class Pair(nn.Module):
    """A network that is trained, the moving average of it, and how many losses were taken.

    All three are state, so that a checkpoint of the pair has them. The average is brought up to
    date when the next loss is taken.
    """

    taken: Tensor

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.target = deepcopy(net).requires_grad_(False)
        self.register_buffer("taken", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def average(self, rate: float) -> None:
        """target <- rate target + (1 - rate) net."""
        torch._foreach_lerp_(
            list(self.target.parameters()), [one.detach() for one in self.net.parameters()],
            1 - rate,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ConsistencyDistillation:
    """Settings of CD.

    grid     points of the schedule between which the student agrees with itself, 2 or more
    average  rate of the target network's moving average: 0 copies, near 1 is slow
    clip     hold the teacher's images in [-1, 1], as when it samples
    """

    grid: int = 32
    average: float | int = 0.95
    clip: bool = True

    def __post_init__(self) -> None:
        if self.grid < 2:
            raise SettingsError(f"grid = {self.grid}: give at least 2 points")
        _check_rate("average", self.average)

    def points(self, schedule: NoiseSchedule) -> int:
        """Of the grid, of which there are no more than steps."""
        return min(self.grid, schedule.steps)


@dataclass(frozen=True, kw_only=True)
class ConsistencyTraining:
    """Settings of CT; the defaults are the paper's of CIFAR-10.

    s0, s1  intervals of the grid at the beginning and at the end, where the schedule has as many
    mu0     rate of the target's moving average with the first grid
    """

    s0: int = 2
    s1: int = 150
    mu0: float | int = 0.9

    def __post_init__(self) -> None:
        if not 1 <= self.s0 <= self.s1:
            raise SettingsError(f"s0 = {self.s0}, s1 = {self.s1}: give 1 <= s0 <= s1")
        _check_rate("mu0", self.mu0)

    def grid_at(self, step: int, steps: int, most: int) -> int:
        """Points of the grid at a step, of `steps`; at most `most`."""
        grown = step / steps * ((self.s1 + 1) ** 2 - self.s0**2) + self.s0**2
        return min(math.ceil(math.sqrt(grown) - 1) + 1, most)

    def average_at(self, grid: int) -> float:
        """Rate of the moving average with a grid; 0 where mu0 is."""
        return math.exp(self.s0 * math.log(self.mu0) / grid) if self.mu0 else 0.0


def consistency_distillation_error(
    schedule: NoiseSchedule,
    grid: Int[Tensor, " point"],
    image: ImageAt,
    student: End,
    target: End,
    x: Pictures,
    n: Times,
) -> Float[Tensor, " sample"]:
    """Squared error between f at x, on step grid[n + 1], and f' one DDIM step further, on grid[n].

    Mean over the pixels. No gradient goes to the teacher's `image` or to the target.
    """
    high, low = grid[n + 1], grid[n]
    with torch.no_grad():
        wanted = target(move(schedule, x, image(x, high), high, low), low)
    return (student(x, high) - wanted).square().flatten(1).mean(dim=1)


def consistency_distillation_loss(
    pair: Pair, teacher: DiffusionModel, method: ConsistencyDistillation
) -> Loss:
    """The loss of CD, of images, places on the grid but the last, and noise.

    Raises SettingsError for a teacher that answers noise.
    """
    if teacher.objective == "eps":
        raise SettingsError(
            "consistency distillation needs a teacher that answers v or x0: where next to nothing"
            " of the image is left, an answer of noise says nothing of it"
        )
    schedule, told = _on_device(teacher)
    image = image_of(teacher.net, schedule, teacher.objective, told=told, clip=method.clip)
    student = _end(pair.net, schedule, teacher.objective, told)
    target = _end(pair.target, schedule, teacher.objective, told)
    grid = linspace(schedule.steps, method.points(schedule)).to(teacher.device)

    def loss(x0: Tensor, n: Tensor, eps: Tensor) -> Tensor:
        pair.average(float(method.average))
        x = add_noise(schedule, x0, grid[n + 1], eps)
        return consistency_distillation_error(schedule, grid, image, student, target, x, n).mean()

    return loss


def consistency_training_loss(
    pair: Pair, teacher: DiffusionModel, method: ConsistencyTraining, steps: int
) -> Loss:
    """The loss of CT over `steps` steps, of a network that answers v; no teacher is asked.

    A function of images, any numbers, of which the grid's places are made, and noise.
    """
    schedule, told = _on_device(teacher)
    student, target = (_end(net, schedule, "v", told) for net in (pair.net, pair.target))

    def loss(x0: Tensor, drawn: Tensor, eps: Tensor) -> Tensor:
        points = method.grid_at(int(pair.taken), steps, schedule.steps)
        pair.average(method.average_at(points))
        pair.taken += 1
        grid = linspace(schedule.steps, points).to(x0.device)
        n = drawn % (points - 1)
        high, low = grid[n + 1], grid[n]
        with torch.no_grad():
            wanted = target(add_noise(schedule, x0, low, eps), low)
        return (student(add_noise(schedule, x0, high, eps), high) - wanted).square().mean()

    return loss


def consistency_distill(
    teacher: DiffusionModel,
    images: Pictures,
    settings: TrainSettings,
    method: ConsistencyDistillation | None = None,
    *,
    checkpoint: Path | None = None,
    watch: TrainWatch | None = None,
) -> tuple[ConsistencyModel, TrainHistory]:
    """A consistency model of the teacher, on the teacher's schedule, from the teacher's weights.

    images    pixels in [0, 1]
    settings  without `ema`: the method has an average of its own

    Raises SettingsError for a teacher that answers noise, or a checkpoint of another run.
    """
    method = ConsistencyDistillation() if method is None else method
    pair = Pair(start_of(teacher, "teacher", settings.seed))
    loss = consistency_distillation_loss(pair, teacher, method)
    about = {"method": "consistency", **asdict(method)}
    n = method.points(teacher.schedule) - 1
    history = _fit(pair, loss, images, n, settings, teacher, about, checkpoint, watch)
    return _model(teacher, pair, teacher.objective), history


def consistency_train(
    teacher: DiffusionModel,
    images: Pictures,
    settings: TrainSettings,
    method: ConsistencyTraining | None = None,
    *,
    checkpoint: Path | None = None,
    watch: TrainWatch | None = None,
) -> tuple[ConsistencyModel, TrainHistory]:
    """A consistency model from data alone; schedule and form of the network are the teacher's.

    images    pixels in [0, 1]
    settings  without `ema`: the method has an average of its own

    Raises SettingsError for a checkpoint of another run.
    """
    method = ConsistencyTraining() if method is None else method
    pair = Pair(start_of(teacher, "random", settings.seed)).to(teacher.device)
    loss = consistency_training_loss(pair, teacher, method, settings.steps)
    about = {"method": "consistency-training", **asdict(method)}
    history = _fit(pair, loss, images, DRAWN_FROM, settings, teacher, about, checkpoint, watch)
    return _model(teacher, pair, "v"), history


def _fit(
    pair: Pair, loss: Loss, images: Pictures, n: int, settings: TrainSettings,
    teacher: DiffusionModel, about: dict[str, Any], checkpoint: Path | None,
    watch: TrainWatch | None,
) -> TrainHistory:  # fmt: skip
    if settings.ema is not None:
        raise SettingsError(
            f"ema = {settings.ema}: a consistency model is a moving average already: give None"
        )
    about = {**about, "schedule": checksum(teacher.schedule.alpha_bar)}
    return fit(pair, loss, images, n, settings, about=about, checkpoint=checkpoint, watch=watch)


def _on_device(teacher: DiffusionModel) -> tuple[NoiseSchedule, Tensor]:
    """The teacher's schedule, and what its network is told at each step, on its device."""
    schedule = teacher.schedule.to(teacher.device)
    return schedule, told_to(teacher, torch.arange(schedule.steps, device=teacher.device))


def _end(net: nn.Module, schedule: NoiseSchedule, objective: str, told: Tensor) -> End:
    return lambda x, t: path_end(net, schedule, objective, x, t, told=told)


def _model(teacher: DiffusionModel, pair: Pair, objective: str) -> ConsistencyModel:
    """Of the average, which the last step has not entered yet."""
    return ConsistencyModel(
        net=pair.target.requires_grad_(True), schedule=teacher.schedule, objective=objective,
        shape=teacher.shape, architecture=teacher.architecture, time_map=teacher.time_map,
    )  # fmt: skip


def _check_rate(name: str, value: float | int) -> None:
    if not 0 <= value < 1:
        raise SettingsError(f"{name} = {value}: give 0 or more, below 1")
