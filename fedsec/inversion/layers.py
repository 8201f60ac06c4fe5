"""Which networks can be inverted, and what their layers mean for it.

An attack differentiates a gradient, so every layer must be differentiable twice. That is tried with
a pass of noise before anything else; a layer that cannot is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from fedsec.errors import SettingsError
from fedsec.inversion.denoiser import DiffusionVictim, refuse_unfit_denoiser
from fedsec.inversion.victim import Victim

SMOOTH = (
    nn.Sigmoid, nn.Tanh, nn.SiLU, nn.GELU, nn.Softplus, nn.ELU, nn.Mish, nn.LogSigmoid, nn.Softsign
)  # fmt: skip
KINKED = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid
)  # fmt: skip
POOLED = (nn.MaxPool1d, nn.MaxPool2d, nn.AdaptiveMaxPool2d)
DROPPED = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout)


def refuse_unfit(victim: Victim, shape: tuple[int, int, int], n_classes: int) -> Victim:
    """This victim. Raises SettingsError where images of this shape do not fit, or a layer cannot
    be differentiated twice, which it names. A denoiser has no classes.
    """
    if isinstance(victim, DiffusionVictim):
        return refuse_unfit_denoiser(victim, shape)
    first = next(iter(victim.parameters.values()))
    x = torch.full((2, *shape), 0.5, device=first.device, dtype=first.dtype)
    x += 0.1 * torch.linspace(0, 1, x.numel(), device=x.device, dtype=x.dtype).view_as(x)
    inputs: dict[str, Tensor] = {}
    with _inputs_kept(victim.net, inputs):
        try:
            logits = torch.func.functional_call(
                victim.net, (victim.parameters, victim.buffers), (x,)
            )
        except (RuntimeError, ValueError) as error:
            raise SettingsError(
                f"images of {' x '.join(map(str, shape))} do not pass through this network:"
                f" {str(error).splitlines()[0]}"
            ) from error
    if logits.shape != (2, n_classes):
        raise SettingsError(
            f"the network answers {tuple(logits.shape)} to 2 images: {n_classes} classes need"
            f" (2, {n_classes})"
        )
    y = torch.zeros(2, dtype=torch.int64, device=x.device)
    if _fault(lambda: victim.loss(_leaves(victim), x.requires_grad_(), y), [x]) is None:
        return victim
    for name, module in victim.net.named_modules():
        if name in inputs and not list(module.children()):
            given = inputs[name].detach().requires_grad_()
            fault = _fault(_squares(module, given), [given])
            if fault is not None:
                raise SettingsError(
                    f"layer {name!r} ({type(module).__name__}) cannot be differentiated twice"
                    f" ({fault}): replace it, or attack with an analytic method"
                )
    raise SettingsError(
        "the network cannot be differentiated twice, though each of its layers can: look at what"
        " its forward method does between them"
    )


def _leaves(victim: Victim) -> dict[str, Tensor]:
    return {name: value.clone().requires_grad_() for name, value in victim.parameters.items()}


def _squares(module: nn.Module, given: Tensor) -> Callable[[], Tensor]:
    def make() -> Tensor:
        found: Tensor = (module(given) ** 2).sum()
        return found

    return make


def _fault(make: Callable[[], Tensor], inputs: list[Tensor]) -> str | None:
    """Why a scalar has no second derivative; None where it has.

    `backward` runs through all of the graph. `grad` with inputs would leave out what does not lead
    to them, and so a step that refuses to be differentiated twice: its part would go missing.
    """
    try:
        (slope,) = torch.autograd.grad(make(), inputs, create_graph=True)
        if slope.requires_grad:
            slope.square().sum().backward()
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return None


class _inputs_kept:
    """Within it, what each module that has one tensor as input was given."""

    def __init__(self, net: nn.Module, kept: dict[str, Tensor]) -> None:
        self._net, self._kept = net, kept

    def __enter__(self) -> None:
        def keep(name: str) -> Callable[[nn.Module, tuple[object, ...]], None]:
            def hook(module: nn.Module, given: tuple[object, ...]) -> None:
                if len(given) == 1 and isinstance(given[0], Tensor):
                    self._kept[name] = given[0]

            return hook

        self._handles = [
            module.register_forward_pre_hook(keep(name))
            for name, module in self._net.named_modules()
        ]

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()


def remarks(net: nn.Module) -> Iterator[str]:
    """What the layers of a network mean for an attack on it, a sentence each."""
    of = [module for module in net.modules() if not list(module.children())]
    if any(isinstance(module, KINKED) for module in of):
        yield (
            "ReLU and its kin have no curvature: what a switched-off unit saw leaves no trace, and"
            " L-BFGS and DLG do worse than on smooth networks."
        )
    if any(isinstance(module, POOLED) for module in of):
        yield "Max pooling passes the gradient of one pixel in each window: the others are guessed."
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in of):
        yield (
            "Batch normalisation: attacks call the network with running statistics unless told"
            " that the client used its batch's; an update of a client in training mode is then"
            " matched only nearly. The client's own running statistics leak its batch's mean."
        )
    if any(isinstance(module, DROPPED) and module.p > 0 for module in of):
        yield (
            "Drop-out is random in training and off in attacks: the match is never exact, so"
            " scores here are a lower bound."
        )
