"""What sampling costs by steps, and a step of training beside diffusers' own loop. One process.

Sampling     the same student network in each number of steps, in turn, several times; the median
Training     the U-Net of this size at the teacher's batch, in turn: `fedsec.diffusion.train`, with
             its moving average, and the loop of diffusers' example of unconditional training
             (`DDPMScheduler.add_noise`, Adam, a cosine schedule, `EMAModel`, a data loader)
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from benchmarks.diffusion.sizes import Size
from benchmarks.diffusion.teachers import (
    images_for,
    noise_for,
    seconds,
    settings_for,
    size_of,
    teacher_of,
)
from benchmarks.inversion.cells import Key, Row
from fedsec.diffusion.model import DiffusionModel
from fedsec.diffusion.semantics import images_of_noise
from fedsec.diffusion.students import on_steps
from fedsec.diffusion.subsequence import leading
from fedsec.diffusion.train import TrainSettings, train

ROUNDS = 7
STEPS = 20  # of training, a round
DRAWN = 256  # images, at most


def keys(given: Any) -> list[Key]:
    """One of each kind, with the first seed's teacher."""
    base = {"size": given.size, "changed": given.changed, "seed": given.seeds[0]}
    return [{**base, "what": what} for what in ("sampling", "training")]


def cell(key: Key) -> Row:
    """Seconds by steps, or seconds a step by loop."""
    size, teacher = size_of(key), teacher_of(key)
    return (
        sampling(size, key["seed"], teacher)
        if key["what"] == "sampling"
        else training(size, teacher)
    )


def sampling(size: Size, seed: int, teacher: DiffusionModel) -> Row:
    """Median seconds for 1000 images, by steps."""
    z = noise_for(size, seed)[:DRAWN].to(size.device)
    students = {n: on_steps(teacher, leading(size.steps, n)) for n in size.students}
    took: dict[int, list[float]] = {n: [] for n in students}
    for _ in range(ROUNDS):
        for n, student in students.items():
            started = seconds(size.device)
            images_of_noise(student, z)
            took[n].append(1000 * (seconds(size.device) - started) / len(z))
    medians = {n: float(np.median(one[1:])) for n, one in took.items()}  # the first warms up
    least = medians[min(medians)] / min(medians)
    return {
        "seconds per 1000": {str(n): value for n, value in medians.items()},
        "per step, over that of the fewest steps": {
            str(n): value / n / least for n, value in medians.items()
        },
    }


def training(size: Size, teacher: DiffusionModel) -> Row:
    """Median seconds of a step by both loops, and the median of their ratios."""
    x = images_for(size)
    start = DiffusionModel(
        copy.deepcopy(teacher.net), teacher.schedule, "eps", teacher.shape, teacher.architecture
    )
    settings = TrainSettings(
        steps=STEPS, batch=size.batch, lr=size.lr, weight="none",
        precision=settings_for(size, 0, 1).precision,
    )  # fmt: skip
    took: dict[str, list[float]] = {"fedsec": [], "diffusers": []}
    for _ in range(ROUNDS):
        started = seconds(size.device)
        train(start, x, settings)
        took["fedsec"].append((seconds(size.device) - started) / STEPS)
        loop = diffusers_loop(size, start, x)
        started = seconds(size.device)
        loop()
        took["diffusers"].append((seconds(size.device) - started) / STEPS)
    ours, theirs = (np.array(took[name][1:]) for name in ("fedsec", "diffusers"))
    return {
        "fedsec": float(np.median(ours)), "diffusers": float(np.median(theirs)),
        "ratio": float(np.median(ours / theirs)),
        "ratios": [float(value) for value in np.sort(ours / theirs)],
    }  # fmt: skip


def diffusers_loop(size: Size, start: DiffusionModel, x: Tensor) -> Any:
    """Their loop over the same network, made ready: only what it repeats is to be timed."""
    from diffusers import DDPMScheduler
    from diffusers.optimization import get_cosine_schedule_with_warmup
    from diffusers.training_utils import EMAModel
    from torch.utils.data import DataLoader, TensorDataset

    net = copy.deepcopy(start.net).train().requires_grad_(True)
    scheduler = DDPMScheduler(num_train_timesteps=size.steps)
    optimizer = torch.optim.Adam(net.parameters(), lr=size.lr)
    falling = get_cosine_schedule_with_warmup(optimizer, 0, STEPS)
    average = EMAModel(net.parameters(), decay=0.999, use_ema_warmup=True)
    generator = torch.Generator().manual_seed(0)
    loader = DataLoader(
        TensorDataset(2 * x - 1), size.batch, shuffle=True, drop_last=True, generator=generator
    )
    device = torch.device(size.device)

    def loop() -> None:
        done = 0
        while done < STEPS:
            for (clean,) in loader:
                clean = clean.to(device)
                noise = torch.randn(clean.shape, device=device)
                t = torch.randint(size.steps, (len(clean),), device=device)
                noisy = scheduler.add_noise(clean, noise, t)
                with torch.autocast(
                    device.type, torch.bfloat16, enabled=size.precision == "bfloat16"
                ):
                    loss = mse_loss(net(noisy, t), noise)
                loss.backward()
                optimizer.step()
                falling.step()
                optimizer.zero_grad()
                average.step(net.parameters())
                done += 1
                if done == STEPS:
                    return

    return loop


def summary(rows: list[Row]) -> dict[str, Any]:
    """Both, by name."""
    return {row["what"]: {k: v for k, v in row.items() if k not in ("part", "size", "changed")}
            for row in rows}  # fmt: skip
