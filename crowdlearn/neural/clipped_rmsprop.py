"""RMSProp with clipped gradients and an accumulator that starts at one; rows may be sparse.

    g  <- clip(gradient, -clip, clip)
    ms <- decay ms + (1 - decay) g^2,   ms = first at the start
    parameter <- parameter - learning_rate g / sqrt(ms + 1e-10)

Rows that a sparse gradient does not name stay as they are, their accumulator too: a step costs by
the rows that a batch has seen. Used by BiLA as released.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

EPSILON = 1e-10


class ClippedRmsprop(torch.optim.Optimizer):
    """Settings: `learning_rate`, `clip`, `decay` and `first`, the accumulator at the start."""

    def __init__(
        self,
        parameters: Iterable[Tensor],
        learning_rate: float,
        *,
        clip: float = 1.0,
        decay: float = 0.9,
        first: float = 1.0,
    ) -> None:
        defaults = {"lr": learning_rate, "clip": clip, "decay": decay, "first": first}
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step on every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step_of(parameter, group)

    def accumulator(self, parameter: Tensor) -> Tensor:
        """The running mean of squared gradients of a parameter."""
        state = self.state[parameter]
        if not state:
            first = self.param_groups[0]["first"]
            state["ms"] = torch.full_like(parameter, first, requires_grad=False)
        found: Tensor = state["ms"]
        return found

    def _step_of(self, parameter: Tensor, group: dict[str, Any]) -> None:
        gradient, ms = parameter.grad, self.accumulator(parameter)
        assert gradient is not None
        if not gradient.is_sparse:
            parameter.sub_(_scaled(gradient, ms, group))
            return
        gradient = gradient.coalesce()
        rows = gradient.indices()[0]
        seen = ms[rows]
        parameter.index_add_(0, rows, _scaled(gradient.values(), seen, group), alpha=-1)
        ms[rows] = seen


def _scaled(gradient: Tensor, ms: Tensor, group: dict[str, Any]) -> Tensor:
    """What is taken off the parameter; `ms` is brought up to date in place."""
    clipped = gradient.clamp(-group["clip"], group["clip"])
    ms.mul_(group["decay"]).addcmul_(clipped, clipped, value=1 - group["decay"])
    return group["lr"] * clipped / torch.sqrt(ms + EPSILON)
