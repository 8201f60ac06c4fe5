"""Whether a denoiser can be differentiated twice, as attacks on its gradient do."""

from __future__ import annotations

import torch
from torch import nn
from torch.func import functional_call

from fedsec.errors import SettingsError

NAMED = "Attention"  # in the class of a layer that may call a fused kernel


def refuse_once_differentiable(net: nn.Module, shape: tuple[int, int, int]) -> None:
    """Raises SettingsError, which names a layer, where the gradient has no derivative of its own.

    Tried on one blank image of (channel, height, width), under whatever attention kernels are
    chosen at the time: `fedsec.core.functional.double_backward` chooses one that can. The
    parameters, and their `.grad`, stay as they are.
    """
    leaves = {
        name: value.detach().clone().requires_grad_() for name, value in net.named_parameters()
    }
    like = next(iter(leaves.values()))
    x = torch.zeros(1, *shape, device=like.device, dtype=like.dtype, requires_grad=True)
    t = torch.zeros(1, dtype=torch.int64, device=like.device)
    answer = functional_call(net, leaves, (x, t))
    slopes = torch.autograd.grad(
        answer.square().sum(), [*leaves.values(), x], create_graph=True, allow_unused=True
    )
    try:
        # `backward` visits every step of the graph; `grad` would pass over one that cannot
        torch.stack([one.square().sum() for one in slopes if one is not None]).sum().backward()
    except RuntimeError as error:
        fused = [name for name, module in net.named_modules() if NAMED in type(module).__name__]
        layer = f"layer {fused[0]!r} of the network" if fused else "the network"
        raise SettingsError(
            f"{layer} cannot be differentiated twice ({str(error).splitlines()[0]}): build it with"
            " fused=False, or run under fedsec.core.functional.double_backward()"
        ) from error
