"""Clients whose defence needs their own data: engines, where a map of updates is not enough.

    DefendedClients   every client makes its defence of what it was sent and its own images, and
                      applies it to what it learned (`Soteria`)
    PrivateClients    every client trains by DP-SGD (`PrivateSGD`)

Give one as `engine` of a `Federation`; the defences of the federation come after it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from fedsec.core.functional import State, call
from fedsec.core.record import Update
from fedsec.core.rng import torch_stream
from fedsec.data.images import Images
from fedsec.federated.engines import Engine, Local, Trained, engine_for
from fedsec.federated.local import FullGradient, Plan
from fedsec.federated.privacy.defence import Defence
from fedsec.federated.privacy.per_sample import PrivateSGD, cross_entropy, train_private
from fedsec.federated.privacy.private_gradient import private_gradient

OwnDefence = Callable[[nn.Module, State, Tensor], Defence]
"""(net, state sent out, the client's images) -> what it does to its update."""


@dataclass(frozen=True, kw_only=True)
class DefendedClients:
    """Train by an engine; then each client applies the defence that it makes.

    defence  made anew by each client in each round
    engine   None takes the faster one
    """

    defence: OwnDefence
    engine: Engine | None = None

    def __call__(
        self, net: nn.Module, state: State, train: Images, plans: Sequence[Plan], local: Local,
        number: int,
    ) -> list[Trained]:  # fmt: skip
        trained = (self.engine or engine_for(net))(net, state, train, plans, local, number)
        return [
            replace(one, update=self._defended(net, state, train, plan, one.update))
            for one, plan in zip(trained, plans, strict=True)
        ]

    def _defended(
        self, net: nn.Module, state: State, train: Images, plan: Plan, update: Update
    ) -> Update:
        own = self.defence(net, state, train.subset(plan.part).x)
        return own(update, _stream(plan, "own defence", train))


@dataclass(frozen=True, kw_only=True)
class PrivateClients:
    """Every client trains by DP-SGD on all that it holds.

    settings  its steps and rate take the place of the federation's local training. Where clients
              send gradients (`FullGradient`), each is one of all samples, clipped and noised

    What it spends is `settings.epsilon()` in each round that a client takes part in. The losses
    that are reported are those at the parameters received, and epsilon does not cover them.
    """

    settings: PrivateSGD = field(default_factory=PrivateSGD)

    def __call__(
        self, net: nn.Module, state: State, train: Images, plans: Sequence[Plan], local: Local,
        number: int,
    ) -> list[Trained]:  # fmt: skip
        return [self._one(net, state, train.subset(plan.part), plan, local) for plan in plans]

    def _one(self, net: nn.Module, state: State, mine: Images, plan: Plan, local: Local) -> Trained:
        started = time.perf_counter()
        generator = _stream(plan, "DP-SGD", mine)
        if isinstance(local, FullGradient):
            update = private_gradient(
                net, state, mine.x, mine.y, generator,
                settings=self.settings, round=plan.number, client=plan.client,
            )  # fmt: skip
        else:
            update, _ = train_private(
                net, state, mine.x, mine.y, generator,
                settings=self.settings, round=plan.number, client=plan.client,
                accountant=_not_counted,
            )  # fmt: skip
        with torch.no_grad():
            losses = cross_entropy(call(net, state, mine.x), mine.y).double()
        loss, rms = float(losses.mean()), float(losses.square().mean().sqrt())
        return Trained(update, loss, rms, time.perf_counter() - started)


def _stream(plan: Plan, purpose: str, images: Images) -> torch.Generator:
    return torch_stream(plan.seed, purpose, plan.number, plan.client, images.x.device)


def _not_counted(noise_multiplier: float, sample_rate: float, steps: int, delta: float) -> float:
    """Accounting takes longer than a small client's training, and its answer is the same."""
    return float("nan")
