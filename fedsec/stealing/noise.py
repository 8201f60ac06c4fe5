"""Uniform noise: the control that every attack without data must beat.

Story       every pixel of every image is drawn from U[0, 1]; the copy learns the answers. Nothing
            is aimed at anything.
Source      the "noise" attack of the authors' code of MAZE (Kariyappa et al. 2021), which takes one
            step on each batch.
Departures  Answers are used again, as MEGA uses them: after each round of `pool` images the copy
            takes `epochs` epochs' worth of steps, on images drawn from the last `memory`. With
            pool = memory = batch and epochs = 1 this is the published form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from fedsec.errors import SettingsError
from fedsec.stealing.attack import StealSettings
from fedsec.stealing.online import begin_online, n_remembered, recall, remember
from fedsec.stealing.oracle import Oracle, ask
from fedsec.stealing.parts import Parts, Step, histogram_of, keep_apart
from fedsec.stealing.substitute import loss_for, rmsprop, train_substitute


@dataclass(frozen=True, kw_only=True)
class UniformNoise(StealSettings):
    """Noise images; see the module.

    pool    images asked about in an iteration
    epochs  steps per iteration are epochs * pool / batch
    memory  images that are learnt from, the latest
    lr      of RMSprop
    """

    name: ClassVar[str] = "noise"

    pool: int = 2000
    epochs: int = 10
    memory: int = 20_000
    lr: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("pool", "epochs"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} = {getattr(self, name)}: give at least 1")
        if self.memory < self.pool:
            raise SettingsError(f"memory = {self.memory}: give at least the pool, {self.pool}")

    def begin(self, oracle: Oracle, substitute: nn.Module, seed: int) -> Parts:
        """A copy that knows nothing."""
        optimiser = rmsprop(substitute.parameters(), self.lr)
        return begin_online(substitute, optimiser, seed, ("images",))

    def step(self, oracle: Oracle, parts: Parts) -> Step:
        """Ask about a pool of noise, and learn."""
        drawn = torch.rand(
            (self.pool, *oracle.shape), generator=parts.generators["images"], device=parts.device
        )
        x, answers = ask(oracle, drawn)
        histogram, n_steps = histogram_of(answers, oracle.n_classes), -(-len(x) // self.batch)
        remember(parts, *keep_apart(parts, x, answers, self.held_out), self.memory)
        order = torch.randperm(
            n_remembered(parts, self.memory), generator=parts.generators["order"],
            device=parts.device,
        )[: self.epochs * n_steps * self.batch]  # fmt: skip
        known, told = recall(parts, order)
        loss, steps = train_substitute(
            parts.substitute, parts.optimisers["substitute"], known, told, batch=self.batch,
            generator=parts.generators["order"], epochs=self.epochs, steps=self.epochs * n_steps,
            loss=loss_for(oracle.mode),
        )  # fmt: skip
        return Step(steps=steps, histogram=histogram, losses={"substitute": loss})
