"""Diffusion clients that `benchmarks.gidm` attacks: models by size, and what a client sends.

A size is a data set, a U-Net and how it is trained. The attacker's prior and the trained victim are
two trainings of that U-Net, with seeds of their own; the untrained victim has a third one. Images
that are attacked are of the test set, which no model was trained on, and all clients have an image
(or a batch) each. Models are kept in a folder, and trained once.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.inversion.clients import images_of
from benchmarks.machine import ROOT
from fedsec.core.rng import stream, torch_stream
from fedsec.data.images import ImageData
from fedsec.diffusion.model import DiffusionModel, load_model, new_model, save_model
from fedsec.diffusion.train import TrainSettings, train
from fedsec.inversion.audit.client import sent_by_denoiser
from fedsec.inversion.audit.subject import Subject
from fedsec.inversion.denoiser import DiffusionVictim, victim_of

WORK = ROOT / "build" / "benchmarks"
UNTRAINED, TRAINED, PRIOR = "untrained", "trained", "prior"
SEEDS = {UNTRAINED: 0, TRAINED: 1, PRIOR: 2}


@dataclass(frozen=True, kw_only=True)
class Size:
    """A data set, a U-Net, and how long it is trained."""

    data: str
    unet: dict[str, Any]
    training: TrainSettings
    iterations: int
    latent: float
    t: tuple[int, ...] = (1, 8, 14)


SIZES = {
    "digits": Size(
        data="digits", unet={"width": 16, "mults": [1, 2]},
        training=TrainSettings(steps=2500, batch=64), iterations=600, latent=1 / 3,
    ),
    "fashion": Size(
        data="fashion-mnist", unet={"width": 32, "mults": [1, 2, 4]},
        training=TrainSettings(steps=8000, batch=128), iterations=1500, latent=1 / 3,
    ),
    "cifar": Size(
        data="cifar10", unet={"width": 64, "mults": [1, 2, 4], "attention": True},
        training=TrainSettings(steps=20_000, batch=128, lr=2e-4), iterations=1500, latent=1 / 3,
        t=(1, 4, 8),
    ),
}  # fmt: skip


def model_path(size: str, which: str, steps: int) -> Path:
    """Where a model is kept."""
    return WORK / f"gidm_{size}_{which}_{steps}.safetensors"


def prepare(size: str, steps: int, device: str) -> None:
    """Train what is not there yet: the prior and the trained victim."""
    for which in (PRIOR, TRAINED):
        path = model_path(size, which, steps)
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.set_num_threads(1)
        of, data = SIZES[size], images_of(SIZES[size].data)
        begun = _untrained(size, SEEDS[which]).to(device)
        settings = replace(of.training, steps=steps, seed=SEEDS[which])
        made, _ = train(
            begun, data.train.x.to(device), settings, checkpoint=path.with_suffix(".part")
        )
        save_model(path, made)
        path.with_suffix(".part").unlink(missing_ok=True)


def _untrained(size: str, seed: int) -> DiffusionModel:
    _, channels, height, width = images_of(SIZES[size].data).train.x.shape
    unet = {"kind": "unet", "channels": channels, **SIZES[size].unet}
    return new_model(unet, (channels, height, width), seed=seed)


@cache
def model_of(size: str, which: str, steps: int, device: str) -> DiffusionModel:
    """A model, read once a process."""
    if which == UNTRAINED:
        return _untrained(size, SEEDS[UNTRAINED]).to(device)
    return load_model(model_path(size, which, steps)).to(device)


@cache
def victim(size: str, which: str, steps: int, device: str) -> DiffusionVictim:
    """One victim for all its clients, so that they can be attacked side by side."""
    return victim_of(model_of(size, which, steps, device)).to(device)


def clients(
    size: str, which: str, steps: int, t: list[list[int]], device: str, first: int = 0
) -> list[Subject]:
    """A client for each list of time steps, with an image a step; client i has seed i."""
    data = images_of(SIZES[size].data)
    sent_from = victim(size, which, steps, device)
    prior = model_of(size, PRIOR, steps, device)
    return [_client(sent_from, data, of, first + seed, prior, device) for seed, of in enumerate(t)]


def _client(
    sent_from: DiffusionVictim, data: ImageData, t: list[int], seed: int, prior: DiffusionModel,
    device: str,
) -> Subject:  # fmt: skip
    rng = stream(seed, "images of a diffusion client")
    truth = data.test.subset(rng.choice(len(data.test), len(t), replace=False)).to(device)
    eps = torch.randn(truth.x.shape, generator=torch_stream(seed, "noise of a diffusion client"))
    return sent_by_denoiser(
        sent_from, truth, torch.tensor(t, device=device), eps.to(device), len(data.classes),
        client=seed, prior=prior,
    )  # fmt: skip


def kept_images(name: str, x: Tensor) -> str:
    """Write images for the pictures; the file's name."""
    folder = WORK / "gidm_images"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.npz"
    part = path.with_suffix(f".{os.getpid()}.npz")
    np.savez_compressed(part, x=x.detach().cpu().numpy())
    os.replace(part, path)
    return path.name
