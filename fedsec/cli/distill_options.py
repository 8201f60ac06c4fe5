"""The options of `fedsec distill`: what they mean, and which of them contradict each other."""

from __future__ import annotations

import torch
from torch import Tensor

from fedsec.cli.checks import at_least, first, goes_with, one_of
from fedsec.cli.distill import DistillFlags
from fedsec.core.rng import torch_stream
from fedsec.diffusion.progressive import stages
from fedsec.diffusion.single_fold import SingleFold
from fedsec.diffusion.subsequence import SEQUENCES, custom, subsequence, trailing
from fedsec.diffusion.train import DECAYS, PRECISIONS
from fedsec.errors import SettingsError

METHODS = ("sfddm", "progressive", "consistency", "consistency-training", "scratch")
ON_SEQUENCES = ("sfddm", "scratch")  # the others choose their steps themselves


def indices_of(flags: DistillFlags, steps: int) -> Tensor:
    """The teacher's steps that the student takes. Raises SettingsError where these are none."""
    if flags.indices is not None:
        try:
            given = [int(part) for part in flags.indices.split(",")]
        except ValueError:
            raise SettingsError(
                f"--indices {flags.indices!r}: write whole numbers, as 0,64,128"
            ) from None
        return custom(steps, given)
    if not 1 <= flags.steps <= steps:
        raise SettingsError(f"--steps is {flags.steps}: the teacher has {steps}: give 1 to {steps}")
    if flags.method not in ON_SEQUENCES:
        return trailing(steps, flags.steps)
    return subsequence(steps, flags.steps, first(flags.sequence, "leading"))


def n_stages(flags: DistillFlags, steps: int) -> int:
    """Trainings one after the other: the halvings of progressive. Raises SettingsError."""
    return stages(steps, flags.steps) if flags.method == "progressive" else 1


def steps_of_a_stage(flags: DistillFlags, steps: int) -> int:
    """Of training, in each halving: as many as there are, over the halvings."""
    n = n_stages(flags, steps)
    if flags.train_steps < n:
        raise SettingsError(f"--train-steps is {flags.train_steps}: give at least {n}")
    return flags.train_steps // n


def check_options(flags: DistillFlags) -> None:
    """Raises SettingsError for names that are none, and options that would change nothing."""
    one_of("--method", flags.method, METHODS)
    one_of("--decay", flags.decay, DECAYS)
    one_of("--precision", flags.precision, PRECISIONS)
    if flags.sequence is not None:
        one_of("--sequence", flags.sequence, SEQUENCES)
    on_sequence = flags.method in ON_SEQUENCES
    goes_with("--sequence", flags.sequence, on_sequence, "--method sfddm and scratch")
    goes_with("--indices", flags.indices, on_sequence, "--method sfddm and scratch")
    goes_with("--sequence", flags.sequence, flags.indices is None, "--steps, not --indices")
    for option, given in (
        ("--start", flags.start),
        ("--time-index", flags.time_index),
        ("--distance", flags.distance),
        ("--hidden-weight", flags.hidden_weight),
        ("--posterior", flags.posterior or None),
    ):
        goes_with(option, given, flags.method == "sfddm", "--method sfddm")
    for name, value, least in (
        ("--train-steps", flags.train_steps, 1), ("--limit", flags.limit, 1),
        ("--compare", flags.compare, 0), ("--seed", flags.seed, 0),
    ):  # fmt: skip
        at_least(name, value, least)


def single_fold_of(flags: DistillFlags) -> SingleFold:
    """What SFDDM minimises; the authors' settings where nothing was given."""
    return SingleFold(
        distance=first(flags.distance, "l1"), hidden_weight=first(flags.hidden_weight, 1.0),
        posterior=flags.posterior, start=first(flags.start, "random"),
        time_index=first(flags.time_index, "k"),
    )  # fmt: skip


def some_of(images: Tensor, flags: DistillFlags) -> Tensor:
    """All of them, or as many as the limit says."""
    if flags.limit is None:
        return images
    if flags.limit > len(images):
        raise SettingsError(f"--limit is {flags.limit}: there are {len(images)} training images")
    order = torch.randperm(len(images), generator=torch_stream(flags.seed, "limit"))
    return images[order[: flags.limit]]
