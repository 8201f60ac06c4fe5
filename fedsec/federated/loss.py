"""What clients descend: cross-entropy, unless a task says otherwise.

A `TaskLoss` gives the loss of every sample, and says how well a model does. One that draws, as that
of a diffusion model draws steps and noise, takes its draws from a stream of the plan (seed, round,
client): so a run repeats, whoever computes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from fedsec.core.functional import State, call
from fedsec.data.images import Images
from fedsec.federated.local import Plan
from fedsec.metrics.classification import Evaluation, evaluate

Device = torch.device | str


@runtime_checkable
class TaskLoss(Protocol):
    """The loss of a task."""

    def draws(self, plan: Plan, device: Device) -> torch.Generator | None:
        """Where a client draws from in this round; None where nothing is drawn."""

    def losses(
        self,
        net: nn.Module,
        state: State,
        x: Float[Tensor, "sample ..."],
        y: Int[Tensor, " sample"],
        generator: torch.Generator | None,
    ) -> Float[Tensor, " sample"]:
        """Of each sample, in one step; differentiable in the state's parameters."""

    def evaluate(self, net: nn.Module, state: State, images: Images) -> Evaluation:
        """How well the model does; accuracy is NaN, and recall empty, where there are none."""


@dataclass(frozen=True)
class CrossEntropy:
    """Of a classifier, in nats."""

    def draws(self, plan: Plan, device: Device) -> None:
        """Nothing."""
        return None

    def losses(
        self,
        net: nn.Module,
        state: State,
        x: Float[Tensor, "sample ..."],
        y: Int[Tensor, " sample"],
        generator: torch.Generator | None,
    ) -> Float[Tensor, " sample"]:
        """Of each sample."""
        return functional.cross_entropy(call(net, state, x), y, reduction="none")

    def evaluate(self, net: nn.Module, state: State, images: Images) -> Evaluation:
        """Loss, accuracy and recall."""
        return evaluate(net, state, images)


CROSS_ENTROPY = CrossEntropy()
