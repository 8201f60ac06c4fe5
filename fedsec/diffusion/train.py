"""Training a denoiser: one draw of images, steps and noise after another, and the mean of its path.

Step        images drawn at random (with replacement), a step of the schedule and a noise for each;
            the gradient of the diffusion loss; Adam; the moving average
Rate        falls along a half cosine from `lr` to 0, or stays
Average     ema <- d ema + (1 - d) parameters after each step, with d = min(`ema`, (1 + k) /
            (10 + k)) in step k = 0, 1, ...: the first steps are forgotten soon. Samples are far
            better by the average than by the parameters themselves
Paper       Ho, Jain and Abbeel (2020), algorithm 1 and appendix B
Departures  The warm-up of d is TensorFlow's (`ExponentialMovingAverage`); Ho et al. have none.

A run is decided by the seed: stopped anywhere and gone on with from its checkpoint, it ends with
the same bits on the same machine.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from math import cos, isfinite, pi
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fedsec.core.functional import flatten
from fedsec.core.rng import torch_stream
from fedsec.diffusion.model import DiffusionModel
from fedsec.diffusion.objectives import WEIGHTS, Pictures, diffusion_loss, to_model_space
from fedsec.diffusion.progress import Progress, checksum, load_progress, save_progress
from fedsec.errors import DataError, SettingsError

DRAWN = 256  # steps whose images and times are drawn in one go
DECAYS, PRECISIONS = ("cosine", "constant"), ("float32", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How a denoiser is trained.

    steps      of the optimiser; 1 or more
    batch      images in a step; 1 or more
    lr         of Adam, at the start; above 0
    decay      of the rate: "cosine", to 0 at the end, or "constant"
    ema        d of the moving average, 0 up to below 1; None trains without one
    weight     of the loss over time: "authors" or "none" (`fedsec.diffusion.objectives`)
    precision  of the network's products: "float32", or "bfloat16" where the device has it; the
               parameters stay float32
    seed       of all that is drawn

    Raises SettingsError for a value out of its range.
    """

    steps: int
    batch: int = 64
    lr: float | int = 1e-3
    decay: str = "cosine"
    ema: float | int | None = 0.999
    weight: str = "authors"
    precision: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in (("steps", self.steps), ("batch", self.batch)):
            if value < 1:
                raise SettingsError(f"{name} = {value}: give at least 1")
        if not 0 < self.lr < float("inf"):
            raise SettingsError(f"lr = {self.lr}: give a learning rate above 0")
        if self.ema is not None and not 0 <= self.ema < 1:
            raise SettingsError(f"ema = {self.ema}: give 0 up to below 1, or None")
        for name, word, known in (
            ("decay", self.decay, DECAYS),
            ("weight", self.weight, WEIGHTS),
            ("precision", self.precision, PRECISIONS),
        ):
            if word not in known:
                raise SettingsError(f"{name} = {word!r}: choose from {', '.join(known)}")
        if self.seed < 0:
            raise SettingsError(f"seed = {self.seed}: give 0 or more")


@dataclass(frozen=True, kw_only=True)
class TrainWatch:
    """How training is followed, and when it is ended early.

    progress  is told (steps done, of how many, mean loss of late) every `every` steps
    stop      is asked before each step whether to end
    keep      seconds from one checkpoint to the next
    """

    progress: Callable[[int, int, float], None] | None = None
    stop: Callable[[], bool] | None = None
    every: int = 50
    keep: float | int = 30.0


@dataclass(frozen=True, eq=False)
class TrainHistory:
    """What a training was like.

    loss     of each step that was made; fewer than asked for where it was stopped
    seconds  of wall time, of this call
    """

    loss: Float[np.ndarray, " step"]
    seconds: float


def train(
    start: DiffusionModel,
    images: Pictures,
    settings: TrainSettings,
    *,
    checkpoint: str | Path | None = None,
    watch: TrainWatch | None = None,
) -> tuple[DiffusionModel, TrainHistory]:
    """Train a model further, or a new one (`new_model`), on images in [0, 1], where it lies.

    The result has the moving average for parameters, or without `ema` the last ones; `start` stays
    as it is. At `checkpoint` progress is kept, at the end too: a run that finds a checkpoint there
    goes on from it.

    Raises DataError where images do not fit the model or a checkpoint is broken, SettingsError
    where a checkpoint is of another run, or the loss is not finite.
    """
    if tuple(images.shape[1:]) != start.shape or not len(images):
        raise DataError(
            f"images are {' x '.join(map(str, images.shape))}, where the model is for"
            f" {' x '.join(map(str, start.shape))} (channel x height x width), one or more"
        )
    watch = TrainWatch() if watch is None else watch
    path = None if checkpoint is None else Path(checkpoint).expanduser()
    net = copy.deepcopy(start.net).train()
    model = replace(start, net=net).to(start.device)
    noise = torch_stream(settings.seed, "noise", device=start.device)
    progress = Progress.begin(net, settings, noise)
    record = _record(start, images, settings)
    if path is not None and path.exists():
        load_progress(path, progress, record)
    x = to_model_space(images.to(start.device))
    started = kept = time.monotonic()
    while progress.done < settings.steps and not (watch.stop is not None and watch.stop()):
        make_step(progress, model, x, settings)
        if progress.done % watch.every == 0 or progress.done == settings.steps:
            late = _mean_loss(progress, watch.every)
            if watch.progress is not None:
                watch.progress(progress.done, settings.steps, late)
        if path is not None and time.monotonic() - kept > watch.keep:
            save_progress(path, progress, record)
            kept = time.monotonic()
    _mean_loss(progress, watch.every)
    if path is not None:
        save_progress(path, progress, record)
    progress.finish()
    net.eval()
    losses = progress.losses[: progress.done].cpu().double().numpy()
    return model, TrainHistory(losses, time.monotonic() - started)


def make_step(
    progress: Progress, model: DiffusionModel, x: Pictures, settings: TrainSettings
) -> None:
    """One step of training, in place; `model` has the network of `progress`, x is in model space
    and on its device.
    """
    step = progress.done
    if progress.drawn is None or step % DRAWN == 0:
        progress.drawn = _drawn(step // DRAWN, len(x), model.schedule.steps, settings, x.device)
    ids, times = progress.drawn
    x0, t = x[ids[step % DRAWN]], times[step % DRAWN]
    eps = torch.randn(x0.shape, generator=progress.generator, device=x.device, dtype=x.dtype)
    with torch.autocast(x.device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
        value = diffusion_loss(
            model.predict, model.schedule, model.objective, x0, t, eps, weight=settings.weight
        )
    value.backward()
    progress.optimizer.param_groups[0]["lr"] = rate(settings, step)
    progress.optimizer.step()
    progress.optimizer.zero_grad()
    if progress.average is not None and settings.ema is not None:
        kept = ema_weight(settings.ema, step)
        with torch.no_grad():
            torch._foreach_lerp_(progress.average, progress.parameters, 1 - kept)
    progress.losses[step] = value.detach()
    progress.done += 1


def rate(settings: TrainSettings, step: int) -> float:
    """The learning rate of step 0, 1, ..."""
    if settings.decay == "constant":
        return settings.lr
    return settings.lr * (1 + cos(pi * step / settings.steps)) / 2


def ema_weight(ema: float | int, step: int) -> float:
    """What is kept of the moving average in step 0, 1, ..."""
    return min(ema, (1 + step) / (10 + step))


def _drawn(
    number: int, n: int, n_times: int, settings: TrainSettings, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Images and steps of the schedule for the steps of training from DRAWN * `number` on, each
    (step, sample).
    """
    generator = torch_stream(settings.seed, "batches", number)
    form = (DRAWN, settings.batch)
    ids = torch.randint(n, form, generator=generator)
    times = torch.randint(n_times, form, generator=generator)
    return ids.to(device), times.to(device)


def _record(start: DiffusionModel, images: Pictures, settings: TrainSettings) -> dict[str, Any]:
    """What decides the run, as JSON: a checkpoint of another one is refused."""
    return {
        "architecture": dict(start.architecture), "objective": start.objective,
        "schedule": checksum(start.schedule.alpha_bar), "start": _of_start(start),
        "images": checksum(images), "settings": asdict(settings),
    }  # fmt: skip


def _of_start(start: DiffusionModel) -> list[int]:
    return checksum(flatten(dict(start.net.named_parameters())))


def _mean_loss(progress: Progress, n: int) -> float:
    """Of the last n steps. Raises SettingsError where it is not finite."""
    of = progress.losses[max(progress.done - n, 0) : progress.done]
    mean = float(of.mean()) if len(of) else 0.0
    if not isfinite(mean):
        raise SettingsError(
            f"the loss is {mean} after {progress.done} steps: give a lower lr, or another seed"
        )
    return mean
