"""How far an image is from the victim's decision boundary, from labels alone.

Along a line  the boundary is bisected: each question halves what is left.
In all        the shortest line is looked for from a first one by the signs of slopes: turned a
              little, is the image at the old distance still inside? One question tells the sign.
Paper         Cheng et al. (2020), Sign-OPT, arXiv 1909.10773, section 3; as Wang (2021) uses it in
              ZSDB3KD, arXiv 2106.03310.

`inside(x, rows)` answers whether images, which belong to the rows `rows` of a batch, still have the
label that those rows started with.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Inside = Callable[[Tensor, Tensor], Tensor]

BETA = 0.001  # how much a direction is turned to learn a sign, at least
ALPHA = 0.2  # how far it is turned then


def unit(
    v: Float[Tensor, "*lead channel height width"],
) -> Float[Tensor, "*lead channel height width"]:
    """Of length 1, each over all its pixels; zero stays zero."""
    length = v.flatten(-3).norm(dim=-1).clamp_min(torch.finfo(v.dtype).tiny)
    return v / length[..., None, None, None]


def bisected(
    inside: Inside,
    x: Float[Tensor, "sample channel height width"],
    direction: Float[Tensor, "sample channel height width"],
    far: Float[Tensor, " sample"],
    rows: Int[Tensor, " sample"],
    n: int,
) -> Float[Tensor, " sample"]:
    """Distance to the boundary along unit directions, where `far` is known to be outside.

    Asks `n` questions an image. The answer is outside, and less than far / 2^n beyond a boundary.
    """
    low, high = torch.zeros_like(far), far.clone()
    for _ in range(n):
        middle = (low + high) / 2
        within = inside(x + middle[:, None, None, None] * direction, rows)
        low, high = torch.where(within, middle, low), torch.where(within, high, middle)
    return high


def turned(
    inside: Inside,
    x: Float[Tensor, "sample channel height width"],
    direction: Float[Tensor, "sample channel height width"],
    distance: Float[Tensor, " sample"],
    rows: Int[Tensor, " sample"],
    around: Float[Tensor, "question sample channel height width"],
    n: int,
) -> tuple[Float[Tensor, "sample channel height width"], Float[Tensor, " sample"]]:
    """One step of Sign-OPT: a direction and a distance that is not larger.

    around   unit vectors to turn towards, one question each
    n        questions for the distance along the new direction, after one whether it is shorter

    A distance that was bisected `n` times is not sharper than 1 / 2^n of itself, so directions are
    turned by 8 / 2^n where that is more than the paper's 0.001.
    """
    beta = max(BETA, 8 / 2**n)
    slope = torch.zeros_like(direction)
    for towards in around:
        tried = unit(direction + beta * towards)
        within = inside(x + distance[:, None, None, None] * tried, rows)
        slope += torch.where(within, 1.0, -1.0)[:, None, None, None] * towards
    new = unit(direction - ALPHA * unit(slope))
    shorter = ~inside(x + distance[:, None, None, None] * new, rows)
    found = distance.clone()
    if bool(shorter.any()):
        found[shorter] = bisected(
            inside, x[shorter], new[shorter], distance[shorter], rows[shorter], n
        )
    return torch.where(shorter[:, None, None, None], new, direction), found


def nearest(
    x: Float[Tensor, "sample channel height width"],
    others: Float[Tensor, "other channel height width"],
    allowed: Bool[Tensor, "sample other"],
    n: int,
) -> tuple[Float[Tensor, "sample near"], Int[Tensor, "sample near"]]:
    """Distances to the `n` nearest images that are allowed, and which; infinite where too few."""
    apart = torch.cdist(x.flatten(1), others.flatten(1)).masked_fill(~allowed, float("inf"))
    found = apart.topk(min(n, len(others)), dim=1, largest=False)
    return found.values, found.indices
