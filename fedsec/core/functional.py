"""Networks as functions of their parameters.

A network is used as `call(net, state, x)`: its own parameters are never touched, so that one
network serves any number of clients, under `torch.func` transforms too. A `State` holds parameters
and buffers by name, in the order of `net.named_parameters()`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

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


def has_tied_weights(net: nn.Module) -> bool:
    """Whether a tensor of the network has two names.

    Where none has, `functional_call` need not look for them at every call (`tie_weights=False`),
    which takes longer than a small layer.
    """
    tensors: list[Tensor] = [v for _, v in net.named_parameters(remove_duplicate=False)]
    tensors += [v for _, v in net.named_buffers(remove_duplicate=False)]
    return len({id(value) for value in tensors}) < len(tensors)


def has_batch_statistics(net: nn.Module) -> bool:
    """Whether a sample's output depends on its batch, as with batch normalisation in training."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in net.modules())
