"""MAZE: model stealing by zeroth-order gradients and replay.

Story       as DFME's game, about the Kullback-Leibler divergence from the victim's probabilities to
            the copy's; the copy also goes over old images, lest it forgets them.
Iteration   one step of the generator by forward differences along ten directions; five steps of the
            copy, the first on the generator's images, already answered; ten steps on old images.
            128 * (11 + 4) = 1920 queries
Paper       Kariyappa, Prakash, Qureshi (2021), arXiv 2005.03161, algorithm 1, and its code.
Departures  Images lie in [0, 1]. The code asks about the generator's images again and does not
            count it; here the answers are kept. Rates fall along a cosine of the budget, and stay
            where there is none. Of the last batches of iterations the latest `memory` images are
            kept, where the code keeps all.
Labels      RECONSTRUCTED: the divergence from a certain label, which is cross-entropy; see
            `disagreement`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from fedsec.errors import SettingsError
from fedsec.stealing.attack import StealSettings
from fedsec.stealing.disagreement import (
    Seek,
    Sought,
    by_differences,
    divergence_gap,
    label_gap,
    through_copy,
)
from fedsec.stealing.generators import Activation, make_generator, unit_tanh
from fedsec.stealing.online import (
    Lessons,
    begin_online,
    codes,
    n_remembered,
    recall,
    remember,
    spent,
)
from fedsec.stealing.oracle import Oracle
from fedsec.stealing.parts import Parts, Step
from fedsec.stealing.substitute import label_loss, set_rate


@dataclass(frozen=True, kw_only=True)
class Maze(StealSettings):
    """The published settings; see the module.

    seek          the generator's step: `by_differences` or `through_copy`
    directions    that differences are taken along
    copy_steps    batches that the copy learns in an iteration, the generator's among them
    replays       steps on old images in an iteration
    memory        old images that are kept
    repeats       steps on each new batch; published: 1
    lr            of the copy's SGD, with momentum 0.9 and weight decay 5e-4
    lr_generator  of the generator's, with the same
    """

    name: ClassVar[str] = "maze"

    batch: int = 128
    latent: int = 100
    seek: Seek = by_differences
    directions: int = 10
    copy_steps: int = 5
    replays: int = 10
    memory: int = 100_000
    repeats: int = 1
    lr: float = 0.1
    lr_generator: float = 1e-4
    activation: Activation = unit_tanh

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("directions", "copy_steps", "memory", "repeats"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} = {getattr(self, name)}: give at least 1")
        if self.replays < 0:
            raise SettingsError(f"replays = {self.replays}: give 0 or more")

    @property
    def queries_per_iteration(self) -> int:
        """Of every iteration but the last."""
        sought = 1 if self.seek is through_copy else self.directions + 1
        return self.batch * (sought + self.copy_steps - 1)

    def begin(self, oracle: Oracle, substitute: nn.Module, seed: int) -> Parts:
        """A copy and a generator that know nothing."""
        parts = begin_online(
            substitute, _sgd(substitute, self.lr), seed, ("codes", "directions", "memory")
        )
        generator = make_generator(oracle.shape, self.latent, seed, self.activation)
        parts.nets["generator"] = generator.to(parts.device)
        parts.optimisers["generator"] = _sgd(generator, self.lr_generator)
        return parts

    def step(self, oracle: Oracle, parts: Parts) -> Step:
        """The generator's step, the copy's, and the replay."""
        fall = (1 + math.cos(math.pi * spent(oracle))) / 2
        set_rate(parts.optimisers["substitute"], self.lr * fall)
        set_rate(parts.optimisers["generator"], self.lr_generator * fall)
        gap = label_gap if oracle.mode == "labels" else divergence_gap
        sought = self.seek(oracle, parts, gap, self.batch, self.directions)
        lessons = Lessons(
            parts, oracle.n_classes, label_loss, held_out=self.held_out, repeats=self.repeats
        )
        self._teach(oracle, parts, lessons, sought)
        if lessons.x is not None and lessons.answers is not None and len(lessons.x):
            remember(parts, lessons.x, lessons.answers, self.memory)
        self._replay(parts, lessons)
        return lessons.step(**({} if sought is None else {"gap": sought.gap}))

    def _teach(self, oracle: Oracle, parts: Parts, lessons: Lessons, sought: Sought | None) -> None:
        for number in range(self.copy_steps):
            if number == 0 and sought is not None:
                lessons.learn(sought.x, sought.answers)
                continue
            if oracle.remaining() == 0:
                break
            with torch.no_grad():
                x = parts.nets["generator"](codes(parts, self.batch, self.latent))
            lessons.ask(oracle, x)

    def _replay(self, parts: Parts, lessons: Lessons) -> None:
        known = n_remembered(parts, self.memory)
        for _ in range(self.replays if known else 0):
            rows = torch.randint(
                known, (min(self.batch, known),),
                generator=parts.generators["memory"], device=parts.device,
            )  # fmt: skip
            lessons.again(*recall(parts, rows))


def _sgd(net: nn.Module, lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
