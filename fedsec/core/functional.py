"""Networks as functions of their parameters.

A network is used as `call(net, state, x)`: its own parameters are never touched, so that one
network serves any number of clients, under `torch.func` transforms too. A `State` holds parameters
and buffers by name, in the order of `net.named_parameters()`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

Parameters = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class State:
    """Parameters, and buffers such as the running statistics of batch normalisation."""

    parameters: Parameters
    buffers: Parameters

    def to(self, device: torch.device | str) -> State:
        """The same state on a device."""
        return State(
            {name: value.to(device) for name, value in self.parameters.items()},
            {name: value.to(device) for name, value in self.buffers.items()},
        )

    def clone(self) -> State:
        """A copy that shares no memory with this one."""
        return State(
            {name: value.clone() for name, value in self.parameters.items()},
            {name: value.clone() for name, value in self.buffers.items()},
        )

    def with_parameters(self, parameters: Parameters) -> State:
        """The same buffers with other parameters."""
        return replace(self, parameters=parameters)


def state_of(net: nn.Module) -> State:
    """A copy of the network's state, detached from it."""
    return State(
        {name: value.detach().clone() for name, value in net.named_parameters()},
        {name: value.detach().clone() for name, value in net.named_buffers()},
    )


def load_state(net: nn.Module, state: State) -> nn.Module:
    """Copy a state into a network, for code that wants a module; returns the network."""
    net.load_state_dict({**state.parameters, **state.buffers})
    return net


def call(net: nn.Module, state: State, x: Tensor) -> Tensor:
    """What the network gives for `x` with this state. In training mode buffers are written to."""
    output: Tensor = functional_call(net, (state.parameters, state.buffers), (x,))
    return output


def as_function(net: nn.Module) -> Callable[..., Tensor]:
    """The network as a function (parameters, buffers, *inputs) -> output.

    What `torch.func.functional_call` gives, for many calls: where each name lies, and which tensors
    have two names, is looked up once, as that takes longer than a small layer. Modules and names
    are those of now; a tensor that a module replaces in a call, instead of writing to it, is lost.
    """
    places: dict[int, list[tuple[dict[str, Any], str]]] = {}
    tensors: dict[str, int] = {}
    for prefix, module in net.named_modules(remove_duplicate=False):
        for store in (module._parameters, module._buffers):
            for key, value in store.items():
                if value is not None:
                    places.setdefault(id(value), []).append((store, key))
                    tensors[f"{prefix}.{key}" if prefix else key] = id(value)
    by_name = {name: places[tensor] for name, tensor in tensors.items()}

    def function(parameters: Parameters, buffers: Parameters, *inputs: Any) -> Tensor:
        kept = []
        try:
            for given in (parameters, buffers):
                for name, value in given.items():
                    for store, key in by_name[name]:
                        kept.append((store, key, store[key]))
                        store[key] = value
            output: Tensor = net(*inputs)
            return output
        finally:
            for store, key, value in reversed(kept):
                store[key] = value

    return function


def gradient(
    loss: Tensor, parameters: Mapping[str, Tensor], *, differentiable: bool = False
) -> Parameters:
    """The gradient of a loss by name; `differentiable` keeps its own graph (double backward)."""
    found = torch.autograd.grad(loss, tuple(parameters.values()), create_graph=differentiable)
    return dict(zip(parameters, found, strict=True))


@contextmanager
def double_backward() -> Iterator[None]:
    """Within it, attention can be differentiated twice: the fused kernels cannot."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


def flatten(tensors: Mapping[str, Tensor]) -> Tensor:
    """One vector of all entries, in the order of the names."""
    return torch.cat([value.reshape(-1) for value in tensors.values()])


def unflatten(vector: Tensor, like: Mapping[str, Tensor]) -> Parameters:
    """The inverse of `flatten`: tensors shaped as those of `like`."""
    pieces = vector.split([value.numel() for value in like.values()])
    return {
        name: piece.view_as(value)
        for (name, value), piece in zip(like.items(), pieces, strict=True)
    }


def has_batch_statistics(net: nn.Module) -> bool:
    """Whether a sample's output depends on its batch, as with batch normalisation in training."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in net.modules())
