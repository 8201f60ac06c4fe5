"""The loop of all distillations: a network, and any loss of images, steps and noise.

Step        images drawn at random (with replacement), a step and a noise for each; the gradient of
            the method's loss; Adam; a moving average where the settings have one
Resumed     what a step draws depends on the seed and its number alone. State, settings and
            checkpoints are those of `fedsec.diffusion.train`: a run that was stopped goes on as if
            it had not been, to the bit on one machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fedsec.core.rng import torch_stream
from fedsec.diffusion.objectives import Pictures, to_model_space
from fedsec.diffusion.progress import Progress, checksum, load_progress, save_progress
from fedsec.diffusion.train import TrainHistory, TrainSettings, TrainWatch, ema_weight, rate
from fedsec.errors import DataError, SettingsError

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(images in model space, their steps, their noise) -> the loss."""


def fit(
    net: nn.Module,
    loss: Loss,
    images: Pictures,
    n_steps: int,
    settings: TrainSettings,
    *,
    about: Mapping[str, Any],
    checkpoint: Path | None = None,
    watch: TrainWatch | None = None,
) -> TrainHistory:
    """Train a network in place, where it lies, by a loss of steps drawn from 0 to `n_steps` - 1.

    images      in [0, 1], on any device
    about       what else decides the run, as JSON: a checkpoint of another one is refused
    checkpoint  is gone on from where it is there, and written at the end and in between

    The network ends in evaluation mode. Raises DataError where there are no images, or a checkpoint
    is broken; SettingsError where it is of another run, or the loss is not finite.
    """
    if not len(images):
        raise DataError("there are no images to train on")
    watch = TrainWatch() if watch is None else watch
    device = next(net.parameters()).device
    x = to_model_space(images.to(device))
    record = {**about, "settings": asdict(settings), "images": checksum(images)}
    net.train()
    progress = Progress.begin(net, settings, torch_stream(settings.seed, "distil", device=device))
    if checkpoint is not None and checkpoint.exists():
        load_progress(checkpoint, progress, record)
    started = kept = time.monotonic()
    while progress.done < settings.steps and not (watch.stop is not None and watch.stop()):
        _make_step(progress, loss, x, n_steps, settings)
        if progress.done % watch.every == 0 or progress.done == settings.steps:
            _tell(progress, settings, watch)
        if checkpoint is not None and time.monotonic() - kept > watch.keep:
            save_progress(checkpoint, progress, record)
            kept = time.monotonic()
    if checkpoint is not None:
        save_progress(checkpoint, progress, record)
    progress.finish()
    net.eval()
    losses = progress.losses[: progress.done].cpu().double().numpy()
    return TrainHistory(losses, time.monotonic() - started)


def _make_step(
    progress: Progress, loss: Loss, x: Pictures, n_steps: int, settings: TrainSettings
) -> None:
    """One step, in place; x is in model space, on the network's device."""
    step, device = progress.done, x.device
    generator = torch_stream(settings.seed, "distillation", round=step, device=device)
    batch = (settings.batch,)
    ids = torch.randint(len(x), batch, generator=generator, device=device)
    t = torch.randint(n_steps, batch, generator=generator, device=device)
    x0 = x[ids]
    eps = torch.randn(x0.shape, generator=generator, device=device, dtype=x.dtype)
    with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
        value = loss(x0, t, eps)
    value.backward()
    progress.optimizer.param_groups[0]["lr"] = rate(settings, step)
    progress.optimizer.step()
    progress.optimizer.zero_grad()
    if progress.average is not None and settings.ema is not None:
        with torch.no_grad():
            kept = ema_weight(settings.ema, step)
            torch._foreach_lerp_(progress.average, progress.parameters, 1 - kept)
    progress.losses[step] = value.detach()
    progress.done += 1


def _tell(progress: Progress, settings: TrainSettings, watch: TrainWatch) -> None:
    """The mean loss of late; one that is not finite ends it here, so no device waits each step."""
    late = progress.losses[max(progress.done - watch.every, 0) : progress.done]
    mean = float(late.mean())
    if not isfinite(mean):
        raise SettingsError(
            f"the loss is {mean} after {progress.done} steps: give a lower lr than {settings.lr}"
        )
    if watch.progress is not None:
        watch.progress(progress.done, settings.steps, mean)
