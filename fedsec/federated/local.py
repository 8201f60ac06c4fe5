"""What a client does in a round, as a plan that any engine carries out.

FedAvg      `LocalTraining`: epochs of SGD in mini-batches (McMahan et al. 2017, algorithm 1)
FedProx     the same with `prox` > 0: the loss gains (prox/2) |w - w_received|^2 (Li et al. 2020)
FedSGD      `FullGradient`: one gradient over all its samples; the server takes the step

A plan fixes which samples are in which step before anything is computed. So engines that run
clients one by one, side by side, or in other processes do the same steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int

from fedsec.core.rng import stream
from fedsec.errors import SettingsError

Schedule = Callable[[int, int], float]
"""(round from 1, rounds the client took part in before) -> factor on the learning rate."""


def constant(number: int, times: int) -> float:
    """The learning rate never changes."""
    return 1.0


@dataclass(frozen=True)
class GlobalSteps:
    """The rate falls by `gamma` every `step` rounds, for all alike."""

    step: int
    gamma: float

    def __call__(self, number: int, times: int) -> float:
        return self.gamma ** ((number - 1) // self.step)


@dataclass(frozen=True)
class ClientSteps:
    """The rate falls by `gamma` after every `step` rounds that the client itself took part in.

    What the curves of the Mavericks paper (arXiv 2106.10734, figure 6) show.
    """

    step: int
    gamma: float

    def __call__(self, number: int, times: int) -> float:
        return self.gamma ** (times // self.step)


@dataclass(frozen=True, kw_only=True)
class LocalTraining:
    """SGD on the client. Momentum starts at zero in each round; the last batch may be smaller."""

    epochs: int = 1
    batch: int = 32
    lr: float = 0.1
    momentum: float = 0.0
    weight_decay: float = 0.0
    prox: float = 0.0
    schedule: Schedule = constant

    def __post_init__(self) -> None:
        _at_least(self.epochs, 1, "epochs")
        _at_least(self.batch, 1, "batch")
        _check_rate(self.lr)
        for name in ("momentum", "weight_decay", "prox"):
            _at_least(getattr(self, name), 0, name)


@dataclass(frozen=True, kw_only=True)
class FullGradient:
    """The gradient over all samples of the client; the server steps with rate `lr`."""

    lr: float = 0.1
    schedule: Schedule = constant

    def __post_init__(self) -> None:
        _check_rate(self.lr)


@dataclass(frozen=True, eq=False)
class Plan:
    """What one client does in one round; the order of its samples is drawn when first asked for.

    part    indices of its samples in the training set
    number  of the round
    times   rounds that it took part in before
    """

    local: LocalTraining | FullGradient
    part: Int[np.ndarray, " sample"]
    seed: int
    number: int
    client: int
    times: int

    @property
    def n(self) -> int:
        """Samples of the client."""
        return len(self.part)

    @property
    def lr(self) -> float:
        """Its learning rate in this round."""
        return self.local.lr * self.local.schedule(self.number, self.times)

    @property
    def first(self) -> int:
        """Steps of the first epoch, whose losses are recorded."""
        return 1 if isinstance(self.local, FullGradient) else -(-self.n // self._width)

    @cached_property
    def batches(self) -> Int[np.ndarray, "step batch"]:
        """Indices into the training set, -1 where a batch is smaller."""
        if isinstance(self.local, FullGradient):
            return self.part[None, :]
        rng = stream(self.seed, "batches", self.number, self.client)
        steps = np.full((self.local.epochs, self.first * self._width), -1, dtype=np.int64)
        for epoch in range(self.local.epochs):
            steps[epoch, : self.n] = self.part[rng.permutation(self.n)]
        return steps.reshape(-1, self._width)

    @property
    def _width(self) -> int:
        return self.n if isinstance(self.local, FullGradient) else min(self.local.batch, self.n)


def server_rate(local: LocalTraining | FullGradient, number: int) -> float:
    """What the server multiplies the mean of a round's updates with."""
    if isinstance(local, FullGradient):
        return local.lr * local.schedule(number, number - 1)
    return 1.0


def _at_least(value: float | int, least: int, name: str) -> None:
    if not value >= least:
        raise SettingsError(f"{name} = {value}: give at least {least}")


def _check_rate(lr: float) -> None:
    if not 0 < lr < float("inf"):
        raise SettingsError(f"lr = {lr}: give a learning rate above 0")
