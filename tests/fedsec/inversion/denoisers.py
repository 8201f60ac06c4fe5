"""Diffusion clients that tests attack: a small untrained U-Net, digits, known steps and noise."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fedsec.diffusion.model import DiffusionModel, new_model
from fedsec.inversion.audit.client import sent_by_denoiser
from fedsec.inversion.audit.subject import Subject
from fedsec.inversion.denoiser import DiffusionVictim, diffusion_victim
from tests.fedsec.inversion.cases import SHAPE, digits, generator

SMALL = {"kind": "unet", "channels": 1, "width": 16, "mults": [1, 2], "groups": 8}


def small_model(objective: str = "v", seed: int = 0) -> DiffusionModel:
    """16 sigmoid steps, as the released code of GIDM has them."""
    return new_model(SMALL, SHAPE, objective=objective, seed=seed)


def small_victim(
    objective: str = "v", dtype: torch.dtype = torch.float64, seed: int = 0
) -> DiffusionVictim:
    """Untrained; in double precision unless told otherwise."""
    model = small_model(objective, seed)
    return diffusion_victim(model.net.to(dtype), model.schedule, model.objective)


def client_of(
    t: Sequence[int],
    *,
    victim: DiffusionVictim | None = None,
    images: Sequence[int] | None = None,
    prior: DiffusionModel | None = None,
    seed: int = 5,
) -> Subject:
    """A client with one digit a step, whose noise the seed draws."""
    victim = small_victim() if victim is None else victim
    dtype = next(iter(victim.parameters.values())).dtype
    truth = digits(range(len(t)) if images is None else images, dtype)
    eps = torch.randn(truth.x.shape, generator=generator(seed), dtype=dtype)
    return sent_by_denoiser(victim, truth, torch.tensor(t), eps, 10, prior=prior)
