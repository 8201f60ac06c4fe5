"""How clients train and what they do before they send: from options to settings of the library."""

from __future__ import annotations

import os

import torch

from fedsec.cli.checks import first, goes_with, one_of
from fedsec.cli.flags import Flags
from fedsec.cli.presets import Preset
from fedsec.errors import SettingsError
from fedsec.federated.aggregate import by_samples, uniform
from fedsec.federated.engines import Local
from fedsec.federated.local import (
    ClientSteps,
    FullGradient,
    GlobalSteps,
    LocalTraining,
    Schedule,
    constant,
)
from fedsec.federated.privacy import Clip, Defence, GaussianNoise, Quantise, TopK, epsilon, rdp

ALGORITHMS = ("fedavg", "fedsgd")
SCHEDULES = ("per-client", "global", "none")
WEIGHTINGS = {"samples": by_samples, "uniform": uniform}


def check_training(flags: Flags) -> None:
    """Raises SettingsError for names that are none, and options that would change nothing."""
    one_of("--algorithm", flags.algorithm, ALGORITHMS)
    one_of("--schedule", _schedule(flags), SCHEDULES)
    one_of("--weighting", flags.weighting, WEIGHTINGS)
    for option, given in (
        ("--epochs", flags.epochs),
        ("--batch", flags.batch),
        ("--momentum", flags.momentum),
        ("--weight-decay", flags.weight_decay),
        ("--prox", flags.prox),
        ("--schedule per-client", True if flags.schedule == "per-client" else None),
    ):
        goes_with(option, given, flags.algorithm == "fedavg", "--algorithm fedavg")
    falls = _schedule(flags) != "none"
    goes_with("--lr-step", flags.lr_step, falls, "--schedule per-client and global")
    goes_with("--lr-gamma", flags.lr_gamma, falls, "--schedule per-client and global")
    clipped = flags.clip is not None
    goes_with("--noise", flags.noise, clipped, "--clip, the norm that noise is measured in")
    goes_with("--delta", flags.delta, bool(flags.noise), "--noise")


def local_of(flags: Flags, preset: Preset) -> Local:
    """What a client does in a round. Raises SettingsError for a number out of its range."""
    schedule = _falling(flags, preset)
    if flags.algorithm == "fedsgd":
        return FullGradient(lr=first(flags.lr, preset.sgd_lr), schedule=schedule)
    return LocalTraining(
        epochs=first(flags.epochs, preset.epochs),
        batch=first(flags.batch, preset.batch),
        lr=first(flags.lr, preset.lr),
        momentum=first(flags.momentum, preset.momentum),
        weight_decay=first(flags.weight_decay, 0.0),
        prox=first(flags.prox, 0.0),
        schedule=schedule,
    )


def defences_of(flags: Flags) -> tuple[Defence, ...]:
    """In this order: clip, noise, top-k, bits. What comes after the noise costs no privacy."""
    made: list[Defence] = []
    if flags.noise is not None:
        made.append(GaussianNoise(multiplier=flags.noise, norm=first(flags.clip, 0.0)))
    elif flags.clip is not None:
        made.append(Clip(norm=flags.clip))
    if flags.top_k is not None:
        made.append(TopK(share=flags.top_k))
    if flags.bits is not None:
        made.append(Quantise(bits=flags.bits))
    if flags.delta is not None:
        epsilon(1.0, 1.0, 1, flags.delta, rdp)  # refuses a delta that is none, or names the extra
    return tuple(made)


def device_of(name: str) -> str:
    """The device to compute on. A GPU is told to compute the same every time."""
    one_of("--device", name, ("auto", "cpu", "cuda"))
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise SettingsError("--device cuda: torch finds no GPU here, so take auto or cpu")
    if name == "cpu" or not there:
        return "cpu"
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    return "cuda"


def _schedule(flags: Flags) -> str:
    return flags.schedule or ("none" if flags.algorithm == "fedsgd" else "per-client")


def _falling(flags: Flags, preset: Preset) -> Schedule:
    name = _schedule(flags)
    if name == "none":
        return constant
    step, gamma = first(flags.lr_step, preset.lr_step), first(flags.lr_gamma, preset.lr_gamma)
    if step < 1 or not 0 < gamma <= 1:
        raise SettingsError(
            f"--lr-step is {step} and --lr-gamma {gamma}: give at least 1, and above 0 up to 1"
        )
    return ClientSteps(step, gamma) if name == "per-client" else GlobalSteps(step, gamma)
