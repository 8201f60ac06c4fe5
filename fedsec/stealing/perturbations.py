"""Adversarial examples in the maximum norm: FGSM, BIM, PGD and MI-FGSM.

Story       the image climbs the cross-entropy of its label (or descends that of a target), a fixed
            step along the sign of each pixel's slope, and never leaves the box of half width eps
            around where it was, nor [0, 1].
Papers      FGSM: Goodfellow, Shlens, Szegedy (2015), arXiv 1412.6572, section 4.
            BIM: Kurakin, Goodfellow, Bengio (2017), arXiv 1607.02533, section 2.2.
            PGD: Madry et al. (2018), arXiv 1706.06083, section 2.1: BIM from a random place in it.
            MI-FGSM: Dong et al. (2018), arXiv 1710.06081, algorithm 1.
Beside      foolbox 3.3 gives the same images to 1e-6. Its MI-FGSM adds up signs where the paper
            adds up slopes over their mean: that is `slope=torch.sign` here.

The functions are the steps; the classes are settings that `transfer_success` takes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from fedsec.errors import SettingsError

Model = Callable[[Tensor], Tensor]
"""(sample, channel, height, width) -> (sample, class) logits, differentiable."""

Slope = Callable[[Tensor], Tensor]
"""The gradient of a batch -> what is added up over the steps, of the same shape."""


@runtime_checkable
class Perturbation(Protocol):
    """Anything that makes adversarial examples on a model that it is given."""

    def craft(
        self,
        model: Model,
        x: Tensor,
        y: Tensor,
        *,
        targeted: bool,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Images near `x` that `model` gives another label than `y`, or the label `y`."""
        ...


def fgsm(
    model: Model,
    x: Float[Tensor, "sample channel height width"],
    y: Int[Tensor, " sample"],
    *,
    eps: float | int,
    targeted: bool = False,
) -> Float[Tensor, "sample channel height width"]:
    """One step of length eps. `x` in [0, 1]; `y` the labels to leave, or to reach if `targeted`.

    No gradients of the model's parameters are touched; put it into evaluation mode before.
    """
    return _climb(model, x, x, y, eps=eps, steps=1, step=eps, targeted=targeted)


def bim(
    model: Model,
    x: Float[Tensor, "sample channel height width"],
    y: Int[Tensor, " sample"],
    *,
    eps: float | int,
    steps: int,
    step: float | int,
    targeted: bool = False,
) -> Float[Tensor, "sample channel height width"]:
    """`steps` steps of length `step`: no pixel moves further than eps, nor than steps * step."""
    return _climb(model, x, x, y, eps=eps, steps=steps, step=step, targeted=targeted)


def pgd(
    model: Model,
    x: Float[Tensor, "sample channel height width"],
    y: Int[Tensor, " sample"],
    *,
    eps: float | int,
    steps: int,
    step: float | int,
    generator: torch.Generator,
    targeted: bool = False,
) -> Float[Tensor, "sample channel height width"]:
    """As `bim`, from a place drawn uniformly from the box around each image."""
    drawn = torch.rand(x.shape, generator=generator, device=generator.device, dtype=x.dtype)
    start = (x + (drawn.to(x.device) * (2 * eps) - eps)).clamp(0, 1)
    return _climb(model, x, start, y, eps=eps, steps=steps, step=step, targeted=targeted)


def by_mean(gradient: Float[Tensor, "sample ..."]) -> Float[Tensor, "sample ..."]:
    """Every image's gradient over its 1-norm (Dong et al. 2018, eq. 6); zero stays zero."""
    norm = gradient.abs().flatten(1).sum(dim=1).clamp_min(1e-30)
    return gradient / norm.view(-1, *[1] * (gradient.ndim - 1))


def mi_fgsm(
    model: Model,
    x: Float[Tensor, "sample channel height width"],
    y: Int[Tensor, " sample"],
    *,
    eps: float | int,
    steps: int,
    step: float | int,
    decay: float | int = 1.0,
    slope: Slope = by_mean,
    targeted: bool = False,
) -> Float[Tensor, "sample channel height width"]:
    """As `bim`, along the sign of a sum of past slopes that fades by `decay` each step."""
    return _climb(
        model, x, x, y,
        eps=eps, steps=steps, step=step, targeted=targeted, decay=decay, slope=slope,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Fgsm:
    """`fgsm`; eps 0.26 is what DaST, MEGA and TandemGAN evaluate with."""

    eps: float | int = 0.26

    def __post_init__(self) -> None:
        _check(self.eps)

    def craft(
        self,
        model: Model,
        x: Tensor,
        y: Tensor,
        *,
        targeted: bool = False,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Nothing is drawn."""
        return fgsm(model, x, y, eps=self.eps, targeted=targeted)


@dataclass(frozen=True, kw_only=True)
class Bim:
    """`bim`. The defaults, of TandemGAN's code, move a pixel by 0.1 at most although eps is 0.25;
    DaST's script takes 120 steps."""

    eps: float | int = 0.25
    steps: int = 5
    step: float | int = 0.02

    def __post_init__(self) -> None:
        _check(self.eps, self.steps, self.step)

    def craft(
        self,
        model: Model,
        x: Tensor,
        y: Tensor,
        *,
        targeted: bool = False,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Nothing is drawn."""
        return bim(model, x, y, eps=self.eps, steps=self.steps, step=self.step, targeted=targeted)


@dataclass(frozen=True, kw_only=True)
class Pgd:
    """`pgd`, with the defaults of TandemGAN's code; DaST's script takes 6 steps of 0.03."""

    eps: float | int = 0.25
    steps: int = 5
    step: float | int = 0.02

    def __post_init__(self) -> None:
        _check(self.eps, self.steps, self.step)

    def craft(
        self,
        model: Model,
        x: Tensor,
        y: Tensor,
        *,
        targeted: bool = False,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Raises SettingsError without a generator: the start is drawn."""
        if generator is None:
            raise SettingsError("PGD starts at random: give generator")
        return pgd(
            model, x, y,
            eps=self.eps, steps=self.steps, step=self.step, targeted=targeted, generator=generator,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MiFgsm:
    """`mi_fgsm`: ten steps of eps / 10 where `step` is None, as published."""

    eps: float | int = 0.25
    steps: int = 10
    step: float | int | None = None
    decay: float | int = 1.0

    def __post_init__(self) -> None:
        _check(self.eps, self.steps, 0 if self.step is None else self.step)
        if self.decay < 0:
            raise SettingsError(f"decay = {self.decay}: give at least 0")

    def craft(
        self,
        model: Model,
        x: Tensor,
        y: Tensor,
        *,
        targeted: bool = False,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Nothing is drawn."""
        step = self.eps / self.steps if self.step is None else self.step
        return mi_fgsm(
            model, x, y,
            eps=self.eps, steps=self.steps, step=step, decay=self.decay, targeted=targeted,
        )  # fmt: skip


PERTURBATIONS: dict[str, type[Fgsm] | type[Bim] | type[Pgd] | type[MiFgsm]] = {
    "fgsm": Fgsm,
    "bim": Bim,
    "pgd": Pgd,
    "mi-fgsm": MiFgsm,
}


def _climb(
    model: Model,
    origin: Tensor,
    start: Tensor,
    y: Tensor,
    *,
    eps: float | int,
    steps: int,
    step: float | int,
    targeted: bool,
    decay: float | int = 0.0,
    slope: Slope = torch.sign,
) -> Tensor:
    """Signed steps from `start`, held in the box around `origin` and in [0, 1]."""
    _check(eps, steps, step)
    sign = -1.0 if targeted else 1.0
    origin, x = origin.detach(), start.detach()
    gathered = torch.zeros_like(x)
    for _ in range(steps):
        gathered = decay * gathered + slope(_gradient(model, x, y))
        x = x + sign * step * gathered.sign()
        x = (origin + (x - origin).clamp(-eps, eps)).clamp(0, 1)
    return x


def _gradient(model: Model, x: Tensor, y: Tensor) -> Tensor:
    """Of the summed cross-entropy with respect to the images."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        (found,) = torch.autograd.grad(cross_entropy(model(leaf), y, reduction="sum"), leaf)
    return found


def _check(eps: float | int, steps: int = 1, step: float | int = 0) -> None:
    for name, value in (("eps", eps), ("step", step)):
        if not 0 <= value < float("inf"):
            raise SettingsError(f"{name} = {value}: give a number from 0, in units of a pixel")
    if steps < 1:
        raise SettingsError(f"steps = {steps}: give at least 1")
