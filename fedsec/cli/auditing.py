"""An audit, from options to files: what it looks at, in which federation costs are measured."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import inf
from threading import Event
from typing import Any

import typer

from fedsec.cli.bars import moving_bar
from fedsec.cli.checks import at_least, goes_with, one_of
from fedsec.cli.presets import preset_of
from fedsec.cli.targets import Target
from fedsec.core.rng import stream
from fedsec.data.partitions import iid
from fedsec.errors import SettingsError
from fedsec.federated.local import LocalTraining
from fedsec.federated.simulate import Federation
from fedsec.federated.task import Task
from fedsec.inversion.attacks import ATTACKS, DIFFUSION_ATTACKS
from fedsec.inversion.audit import (
    DIFFUSION,
    DIFFUSION_THREATS,
    EVERY_THREAT,
    QUICK,
    QUICK_DIFFUSION,
    THREATS,
    Audit,
    Cost,
    Follow,
    Scope,
)
from fedsec.inversion.audit.ladders import LADDERS
from fedsec.inversion.audit.verdict import EXPOSED, PARTLY, best_guess
from fedsec.inversion.denoiser import DiffusionVictim

CLIENTS, PER_ROUND, MOST_COST = 20, 5, 5000
COLOURS = {EXPOSED: typer.colors.RED, PARTLY: typer.colors.YELLOW}


def scope_of(
    quick: bool, names: dict[str, Sequence[str] | None], numbers: dict[str, int | None],
    seconds: float | None, victim: str = "classifier",
) -> Scope:  # fmt: skip
    """What the audit looks at: a preset, and what was given of it.

    Raises SettingsError for names that are none, and numbers out of their ranges.
    """
    if seconds is not None and not seconds > 0:
        raise SettingsError(f"--seconds is {seconds}: give a number above 0")
    diffusion = victim == "diffusion"
    for option, given, known in (
        ("--threat", names["threats"], DIFFUSION_THREATS if diffusion else THREATS),
        ("--attack", names["attacks"], DIFFUSION_ATTACKS if diffusion else ATTACKS),
        ("--defence", names["ladders"], LADDERS),
    ):
        for one in given or ():
            one_of(option, one, known)
    for name, least in (("iterations", 1), ("restarts", 1), ("clients", 0), ("cost_rounds", 0)):
        at_least(f"--{name.replace('_', '-')}", numbers[name], least)
    changes: dict[str, Any] = {name: tuple(given) for name, given in names.items() if given}
    changes |= {name: given for name, given in numbers.items() if given is not None}
    if numbers["iterations"] is not None:
        changes["curve_iterations"] = numbers["iterations"]
    if diffusion:
        goes_with("--cost-rounds", numbers["cost_rounds"], False, "--victim classifier")
        return replace(QUICK_DIFFUSION if quick else DIFFUSION, **changes)
    return replace(QUICK if quick else Scope(), **changes)


def cost_of(target: Target, seed: int) -> Cost | None:
    """A federation of the audited network on the data set, trained from its maker's parameters.

    None for a diffusion model, which has no accuracy.
    """
    if isinstance(target.subject.victim, DiffusionVictim):
        return None
    preset, images = preset_of(target.images.name), target.images
    labels = images.train.y.numpy()
    rng = stream(seed, "partition")
    n = min(CLIENTS, len(labels))
    parts = iid(labels, n, rng).parts
    kept = max(MOST_COST // n, 1)
    net = copy.deepcopy(target.net).to(target.device)
    parts = tuple(part[:kept] for part in parts)
    task = Task(net, images.train, parts, images.test, len(images.classes)).to(target.device)
    local = LocalTraining(
        epochs=preset.epochs, batch=preset.batch, lr=preset.lr, momentum=preset.momentum
    )
    federation = Federation(per_round=min(PER_ROUND, n), local=local, seed=seed)
    return Cost(task=task, federation=federation)


@contextmanager
def following(json: bool, asked: Event, seconds: float | None) -> Iterator[Follow]:
    """Shows how far an audit is, and ends it where Ctrl-C asked for it."""
    with moving_bar(json, "parts") as show:
        yield Follow(
            progress=lambda done, of, what, share: show(done + share, of, what),
            stop=asked.is_set,
            seconds=inf if seconds is None else seconds,
        )


def show_audit(found: Audit) -> None:
    """A verdict a line, and the best of each threat model."""
    if found.guesses:
        name, guess = best_guess(found.guesses)
        typer.echo(f"without an update: {name} has a median PSNR of {guess:.1f} dB")
    for one in found.verdicts:
        level = typer.style(f"{one.level:>10}", fg=COLOURS.get(one.level), bold=True)
        typer.echo(f"{level}  {EVERY_THREAT[one.threat].title}: {one.says}")
