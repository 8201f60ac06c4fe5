"""What makes an image likely, as a scalar that is added to the distance of gradients.

A prior is made once, with its weight, and called in each iteration with the images of one restart:
differentiable, in any precision, and safe under `torch.func.vmap`, which an attack puts restarts
through. `group_consistency` alone looks at all restarts, and gives a penalty for each.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from fedsec.core.functional import State
from fedsec.errors import SettingsError

Images = Float[Tensor, "sample channel height width"]
Scalar = Float[Tensor, ""]
ImagePrior = Callable[[Images], Scalar]
Coupling = Callable[
    [Float[Tensor, "restart sample channel height width"]], Float[Tensor, " restart"]
]

_Normalising = nn.modules.batchnorm._BatchNorm


def total_variation(weight: float | int) -> ImagePrior:
    """weight (mean |dx| + mean |dy|): neighbours are alike. One pixel has no neighbour."""

    def prior(x: Images) -> Scalar:
        found = x.new_zeros(())
        for axis in (2, 3):
            if x.shape[axis] > 1:
                found = found + x.diff(dim=axis).abs().mean()
        return weight * found

    return prior


def norm(weight: float | int) -> ImagePrior:
    """weight times the mean square of pixels: no pixel is far from 0."""
    return lambda x: weight * x.square().mean()


def batch_norm_statistics(weight: float | int, net: nn.Module, state: State) -> ImagePrior:
    """weight times the distance of the batch's statistics from the running ones (GradInversion).

    At every batch normalisation: |mean - running mean| + |variance - running variance|, L2 norms
    over the channels, as in Yin et al. (2021), See through gradients. The variance divides
    by the number of values, so that one image of one pixel has one.

    The network is called with running statistics, and on a copy. `state` is of the device and the
    precision of the images. Raises SettingsError where no layer has running statistics.
    """
    net = copy.deepcopy(net).eval().requires_grad_(False)
    running = {
        name: (state.buffers[f"{name}.running_mean"], state.buffers[f"{name}.running_var"])
        for name, module in net.named_modules()
        if isinstance(module, _Normalising) and f"{name}.running_mean" in state.buffers
    }
    if not running:
        raise SettingsError(
            "this prior compares with running statistics of batch normalisation, and the network"
            " keeps none: leave it out"
        )
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            seen[name] = given[0]

        return hook

    for name in running:
        net.get_submodule(name).register_forward_pre_hook(keep(name))

    def prior(x: Images) -> Scalar:
        functional_call(net, (state.parameters, state.buffers), (x,))
        found = x.new_zeros(())
        for name, (mean, variance) in running.items():
            values = seen.pop(name).movedim(1, 0).flatten(1)
            found = found + _length(values.mean(dim=1) - mean)
            found = found + _length(values.var(dim=1, correction=0) - variance)
        return weight * found

    return prior


def group_consistency(weight: float | int) -> Coupling:
    """weight times the mean squared distance of each restart from the mean over restarts."""

    def coupling(
        x: Float[Tensor, "restart sample channel height width"],
    ) -> Float[Tensor, " restart"]:
        return weight * (x - x.mean(dim=0)).square().flatten(1).mean(dim=1)

    return coupling


def _length(value: Tensor) -> Tensor:
    """The L2 norm; its derivative at zero is zero."""
    return (value.square().sum() + torch.finfo(value.dtype).tiny).sqrt()
