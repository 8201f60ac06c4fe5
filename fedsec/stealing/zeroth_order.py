"""Slopes of a black box, from its values alone: forward differences along random directions.

Rule        gradient = mean over k of D * (F(v + eps u_k) - F(v)) / eps * u_k, over `scale`, where
            the u_k are uniform on the unit sphere of R^D and F is the loss of one image
Papers      DFME: Truong et al. (2021), arXiv 2011.14779, eq. 4; MAZE: Kariyappa et al. (2021),
            arXiv 2005.03161, eq. 8. The first takes one direction, the second ten.
Where       v is the image before the generator's activation, so F holds the activation too: what is
            asked then is always an image.

The mean over the directions is the gradient to first order in eps; for D orthogonal directions of
length 1 it is so in every draw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fedsec.errors import SettingsError

EPS = 1e-3

Value = Callable[[Tensor], Tensor]
"""(sample, ...) -> (sample,): the loss of every image, without its graph."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """What a black box told of its slope.

    gradient  of `sum over samples of F / scale`, as the points
    value     F at the points
    asked     images that F was asked about: samples * (directions + 1)
    """

    gradient: Float[Tensor, "sample ..."]
    value: Float[Tensor, " sample"]
    asked: int


def sphere(
    n: int, v: Float[Tensor, "sample ..."], generator: torch.Generator
) -> Float[Tensor, "direction sample ..."]:
    """`n` directions for each point, uniform on the unit sphere of what a point is made of."""
    drawn = torch.randn((n, *v.shape), generator=generator, device=generator.device, dtype=v.dtype)
    length = drawn.flatten(2).norm(dim=2).clamp_min(torch.finfo(v.dtype).tiny)
    return (drawn / length.view(n, len(v), *[1] * (v.ndim - 1))).to(v.device)


def estimate(
    value: Value,
    v: Float[Tensor, "sample ..."],
    directions: Float[Tensor, "direction sample ..."],
    *,
    eps: float | int = EPS,
    scale: float | int = 1.0,
) -> Estimate:
    """The slope of `value` at the points, from differences along the directions.

    `value` is asked once, about the points and then all points moved, so that an oracle answers all
    of it or nothing. `scale` is what the sum of F over the samples is divided by: the samples for
    a mean over them, samples * classes for a mean over both. Raises SettingsError for eps or scale
    that are not above 0, or no direction.
    """
    for name, number in (("eps", eps), ("scale", scale)):
        if not 0 < number < float("inf"):
            raise SettingsError(f"{name} = {number}: give a number above 0")
    if not len(directions):
        raise SettingsError("there are no directions: give at least 1")
    v = v.detach()
    n, size = len(v), v[0].numel()
    with torch.no_grad():
        moved = (v + eps * directions).flatten(0, 1)
        found = value(torch.cat([v, moved]))
        rise = (found[n:].view(len(directions), n) - found[:n]) / eps
        rise = rise.view(len(directions), n, *[1] * (v.ndim - 1))
        gradient = size * (rise * directions).mean(dim=0) / scale
    return Estimate(gradient, found[:n], len(found))
