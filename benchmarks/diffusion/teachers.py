"""The teacher of a seed, its samples, and what students are scored by.

A teacher is trained once, and kept with its samples in build/benchmarks/sfddm. Real images are the
test set's; features are those of one classifier for all seeds.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.diffusion.sizes import SIZES, Size
from benchmarks.inversion.cells import Key, Row
from benchmarks.machine import ROOT
from fedsec.core.rng import torch_stream
from fedsec.data.images import ImageData, load_images
from fedsec.diffusion.model import DiffusionModel, load_model, new_model, save_model
from fedsec.diffusion.samplers import time_list
from fedsec.diffusion.schedule import noise_schedule
from fedsec.diffusion.semantics import images_of_noise
from fedsec.diffusion.train import TrainSettings, train
from fedsec.metrics.features import FeatureNet, train_features
from fedsec.metrics.generation import fcd, generation_scores

FOLDER = ROOT / "build" / "benchmarks" / "sfddm"


def size_of(key: Key) -> Size:
    """The size that a key names, with what it says otherwise."""
    return replace(SIZES[key["size"]], **key["changed"])


def seconds(device: str) -> float:
    """A clock: of this process's work on a CPU, where others may be busy; of the wall on a GPU."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


@cache
def data_of(name: str) -> ImageData:
    """A set, read once a process."""
    return load_images(name, os.environ.get("FEDSEC_DATA"))


@cache
def features_of(name: str) -> FeatureNet:
    """The classifier that fcd goes by, on the CPU; its own training is the same every time."""
    return train_features(data_of(name), seed=0)


def images_for(size: Size) -> Tensor:
    """What is trained on, in [0, 1]."""
    return data_of(size.data).train.x[: size.limit]


def noise_for(size: Size, seed: int) -> Tensor:
    """The noise that all models of a seed begin with."""
    shape = data_of(size.data).train.x.shape[1:]
    return torch.randn(size.samples, *shape, generator=torch_stream(seed, "noise of samples"))


def settings_for(size: Size, seed: int, steps: int) -> TrainSettings:
    """Of a student: Adam, a rate that falls to 0, and no average, for all methods alike."""
    return TrainSettings(
        steps=steps, batch=size.batch, lr=size.lr, ema=None,
        precision=size.precision, seed=seed,  # type: ignore[arg-type]
    )  # fmt: skip


def place(key: Key, name: str, by: tuple[str, ...] = ("teacher_steps",)) -> Path:
    """A file of this seed's; `by` names the changes of the size that make it another one."""
    changed = "".join(
        f"-{what}-{value}" for what, value in sorted(key["changed"].items()) if what in by
    )
    return FOLDER / f"{key['size']}{changed}-{key['seed']}-{name}"


def teacher_of(key: Key) -> DiffusionModel:
    """The teacher of a size and a seed: read, or trained where it is not there."""
    size, path = size_of(key), place(key, "teacher.safetensors")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        x = images_for(size)
        channels = int(x.shape[1])
        start = new_model(
            {**size.architecture, "channels": channels}, tuple(x.shape[1:]),  # type: ignore[arg-type]
            schedule=noise_schedule("sigmoid", size.steps), objective="v", seed=key["seed"],
        ).to(size.device)  # fmt: skip
        settings = TrainSettings(
            steps=size.teacher_steps, batch=size.batch, lr=size.lr, seed=key["seed"],
            precision=size.precision,  # type: ignore[arg-type]
        )  # fmt: skip
        started = seconds(size.device)
        model, _ = train(start, x, settings)
        save_model(path, model, {"seconds": seconds(size.device) - started})
    return load_model(path).to(size.device)


def full_samples(key: Key, teacher: DiffusionModel) -> Tensor:
    """What the teacher makes of the noise in its full number of steps; kept."""
    size, path = size_of(key), place(key, "full.npy", ("teacher_steps", "samples"))
    if path.exists():
        return torch.from_numpy(np.load(path))
    times = time_list(size.steps, size.full)
    x = images_of_noise(teacher, noise_for(size, key["seed"]), times=times).cpu()
    np.save(path, x.numpy())
    return x


def fcd_of(size: Size, x: Tensor) -> float:
    """Against the test images."""
    return fcd(features_of(size.data), x.cpu(), data_of(size.data).test.x)


def keys(given: Any) -> list[Key]:
    """A teacher a seed."""
    return [{"size": given.size, "changed": given.changed, "seed": seed} for seed in given.seeds]


def cell(key: Key) -> Row:
    """Train a teacher and score what it makes in all its steps."""
    size = size_of(key)
    teacher = teacher_of(key)
    place(key, "full.npy", ("teacher_steps", "samples")).unlink(missing_ok=True)  # to time it
    started = seconds(size.device)
    x = full_samples(key, teacher)
    took = seconds(size.device) - started
    real = data_of(size.data).test.x
    scores = generation_scores(features_of(size.data), x, real, torch_stream(key["seed"], "scores"))
    return {
        "fcd": scores.fcd, "floor": scores.floor, "ceiling": scores.ceiling,
        "precision": scores.precision, "recall": scores.recall,
        "seconds per 1000": 1000 * took / len(x),
        "features": features_of(size.data).name, "real": len(real),
        "parameters": sum(value.numel() for value in teacher.net.parameters()),
    }  # fmt: skip
