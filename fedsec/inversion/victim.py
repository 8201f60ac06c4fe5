"""What an attack differentiates: a client's loss as a function of parameters, images and extras.

A loss is `loss(parameters, x, extra) -> scalar`, the mean over the images. Of a classifier `extra`
is the labels or class probabilities, and it must take both; of another model it is whatever else
its loss depends on: of a denoiser the time steps and the noise (`fedsec.inversion.denoiser`). No
attack knows more.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fedsec.core.functional import Parameters, State, as_function, state_of
from fedsec.errors import SettingsError

Loss = Callable[[Parameters, Tensor, Any], Tensor]
"""(parameters, x, extra) -> the mean loss over the images."""


@dataclass(frozen=True, eq=False)
class Victim:
    """A client's loss, and the parameters that the server sent it.

    loss        what the client descends
    parameters  by name, in the order of `net.named_parameters()`; nothing here tracks gradients
    net         called as a function: its own parameters are never touched
    buffers     running statistics that the network is called with
    """

    loss: Loss
    parameters: Parameters
    net: nn.Module
    buffers: Parameters

    def with_parameters(self, parameters: Parameters) -> Victim:
        """The same loss at other parameters."""
        return replace(self, parameters=parameters)

    def to(self, device: torch.device | str) -> Victim:
        """The same victim with parameters and buffers on a device. This one is of a classifier."""
        state = State(self.parameters, self.buffers).to(device)
        return _classifier(self.net, state)


def classifier(
    net: nn.Module, state: State | None = None, *, batch_statistics: bool = False
) -> Victim:
    """The victim whose loss is cross-entropy; `extra` is labels, or class probabilities.

    state             what was sent; the network's own where None
    batch_statistics  batch normalisation by the statistics of the batch, as in training. By
                      default the running statistics stand, as in reference attacks: then images
                      do not mix, and what is left of the client's mode is an approximation

    Drop-out is off: a client that trains with it sends a gradient that no attack can compute.
    Raises SettingsError where batch normalisation keeps no running statistics and
    `batch_statistics` is off.
    """
    kept = state_of(net) if state is None else state
    net = copy.deepcopy(net).eval().requires_grad_(False)
    if batch_statistics:
        kept = State(kept.parameters, _forget_running(net, kept.buffers))
    else:
        _refuse_without_running(net)
    return _classifier(net, kept)


def _classifier(net: nn.Module, state: State) -> Victim:
    buffers, call = dict(state.buffers), as_function(net)

    def loss(parameters: Parameters, x: Tensor, extra: Tensor) -> Tensor:
        return cross_entropy(call(parameters, buffers, x), extra)

    parameters = {name: value.detach() for name, value in state.parameters.items()}
    return Victim(loss, parameters, net, buffers)


def _forget_running(net: nn.Module, buffers: Parameters) -> Parameters:
    """Make every batch normalisation go by its batch; the buffers that are left."""
    gone = set()
    for name, module in net.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            gone |= {f"{name}.{buffer}".lstrip(".") for buffer, _ in module.named_buffers()}
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None
    return {name: value for name, value in buffers.items() if name not in gone}


def _refuse_without_running(net: nn.Module) -> None:
    for name, module in net.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            raise SettingsError(
                f"layer {name!r} ({type(module).__name__}) keeps no running statistics: give"
                " batch_statistics=True"
            )
