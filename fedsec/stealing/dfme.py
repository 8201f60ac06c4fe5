"""DFME: data-free model extraction, a game about logits.

Story       the generator looks for images on which the copy's logits are far from the victim's; the
            copy learns fresh images of it. The victim's logits are recovered from probabilities, up
            to a constant that the mean over classes takes out.
Iteration   one step of the generator by forward differences along one direction, then five steps of
            the copy: 256 * (2 + 5) = 1792 queries
Paper       Truong, Maini, Walls, Papernot (2021), arXiv 2011.14779, algorithm 1, and its code.
Departures  Images lie in [0, 1]. The code divides the generator's gradient by the classes once
            more, which Adam takes out again. Rates fall with the budget, and stay where there is
            none.
Labels      RECONSTRUCTED: cross-entropy for both players; see `disagreement`. With `through_copy`
            an iteration is 256 * (1 + 5) = 1536 queries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from fedsec.errors import SettingsError
from fedsec.stealing.attack import StealSettings
from fedsec.stealing.disagreement import (
    Seek,
    by_differences,
    label_gap,
    logit_gap,
    through_copy,
)
from fedsec.stealing.generators import Activation, make_generator, unit_tanh
from fedsec.stealing.online import Lessons, begin_online, codes, spent
from fedsec.stealing.oracle import Oracle
from fedsec.stealing.parts import Parts, Step
from fedsec.stealing.substitute import loss_for, set_rate

FALLS = (0.1, 0.3, 0.5)  # shares of the budget at which rates fall
FALL = 0.3


@dataclass(frozen=True, kw_only=True)
class Dfme(StealSettings):
    """The published settings; see the module.

    seek          the generator's step: `by_differences` or `through_copy`
    directions    that differences are taken along
    copy_steps    batches that the copy learns in an iteration
    repeats       steps on each of them; published: 1
    lr            of the copy's SGD, with momentum 0.9 and weight decay 5e-4
    lr_generator  of the generator's Adam
    """

    name: ClassVar[str] = "dfme"

    latent: int = 256
    seek: Seek = by_differences
    directions: int = 1
    copy_steps: int = 5
    repeats: int = 1
    lr: float = 0.1
    lr_generator: float = 1e-4
    activation: Activation = unit_tanh

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("directions", "copy_steps", "repeats"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} = {getattr(self, name)}: give at least 1")

    @property
    def queries_per_iteration(self) -> int:
        """Of every iteration but the last."""
        sought = 1 if self.seek is through_copy else self.directions + 1
        return self.batch * (sought + self.copy_steps)

    def begin(self, oracle: Oracle, substitute: nn.Module, seed: int) -> Parts:
        """A copy and a generator that know nothing."""
        sgd = torch.optim.SGD(substitute.parameters(), lr=self.lr, momentum=0.9, weight_decay=5e-4)
        parts = begin_online(substitute, sgd, seed, ("codes", "directions"))
        generator = make_generator(oracle.shape, self.latent, seed, self.activation)
        parts.nets["generator"] = generator.to(parts.device)
        parts.optimisers["generator"] = torch.optim.Adam(
            generator.parameters(), lr=self.lr_generator
        )
        return parts

    def step(self, oracle: Oracle, parts: Parts) -> Step:
        """The generator's step, then the copy's."""
        fall = FALL ** sum(spent(oracle) >= share for share in FALLS)
        set_rate(parts.optimisers["substitute"], self.lr * fall)
        set_rate(parts.optimisers["generator"], self.lr_generator * fall)
        labels = oracle.mode == "labels"
        sought = self.seek(
            oracle, parts, label_gap if labels else logit_gap, self.batch, self.directions,
            1 if labels else oracle.n_classes,
        )  # fmt: skip
        lessons = Lessons(
            parts, oracle.n_classes, loss_for(oracle.mode),
            held_out=self.held_out, repeats=self.repeats,
        )  # fmt: skip
        for _ in range(self.copy_steps):
            if oracle.remaining() == 0:
                break
            with torch.no_grad():
                x = parts.nets["generator"](codes(parts, self.batch, self.latent))
            lessons.ask(oracle, x)
        return lessons.step(**({} if sought is None else {"gap": sought.gap}))
