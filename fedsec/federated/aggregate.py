"""How the server makes one model of the updates."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fedsec.core.functional import Parameters, State
from fedsec.core.record import Update

Weighting = Callable[[Sequence[Update]], list[float]]
"""updates -> shares, which sum to one."""


def by_samples(updates: Sequence[Update]) -> list[float]:
    """FedAvg: in proportion to the clients' numbers of samples (McMahan et al. 2017)."""
    total = sum(one.n for one in updates)
    return [one.n / total for one in updates]


def uniform(updates: Sequence[Update]) -> list[float]:
    """The plain mean; the Mavericks paper calls averaging with it FedSGD."""
    return [1 / len(updates)] * len(updates)


def weighted_mean(of: Sequence[Parameters], shares: Sequence[float]) -> Parameters:
    """Sum over clients of share times tensor, by name. Integer tensors are rounded."""
    if not of or not of[0]:
        return {}
    whole = not all(value.is_floating_point() for value in of[0].values())
    total = [value * shares[0] for value in _floating(of[0], whole)]
    for one, share in zip(of[1:], shares[1:], strict=True):
        torch._foreach_add_(total, _floating(one, whole), alpha=share)
    return {
        name: value if like.is_floating_point() else value.round().to(like.dtype)
        for (name, like), value in zip(of[0].items(), total, strict=True)
    }


def _floating(tensors: Parameters, whole: bool) -> list[Tensor]:
    """The tensors, of which integer ones become floating; `whole` says that there are some."""
    if not whole:
        return list(tensors.values())
    return [value if value.is_floating_point() else value.double() for value in tensors.values()]


def apply_updates(
    state: State, updates: Sequence[Update], weighting: Weighting, lr: float = 1.0
) -> State:
    """The next global model: deltas are added; of gradients, `lr` times the mean is subtracted.

    Buffers become their weighted mean. Without updates the state stays as it is.
    """
    if not updates:
        return state
    shares = weighting(updates)
    mean = weighted_mean([one.tensors for one in updates], shares)
    sign = lr if updates[0].kind == "delta" else -lr
    parameters = {
        name: value.add(mean[name], alpha=sign) for name, value in state.parameters.items()
    }
    buffers = weighted_mean([one.buffers for one in updates], shares) or state.buffers
    return State(parameters, buffers)
