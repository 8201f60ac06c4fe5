"""Laws of noise, of standard deviation one: what a defence adds is a multiple of a draw.

    gaussian   N(0, 1)
    laplace    density exp(-sqrt(2) |z|) / sqrt(2): heavier tails at the same deviation

A law is a function `(like, generator) -> Tensor`: entries drawn independently, of the shape, dtype
and device of `like`. The scale of a Laplace law is often given as b, where its density is
exp(-|z| / b) / 2b: that is deviation / sqrt(2).
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import torch
from jaxtyping import Float
from torch import Tensor

from fedsec.core.functional import Parameters

Law = Callable[[Tensor, torch.Generator], Tensor]


def gaussian(like: Float[Tensor, "*shape"], generator: torch.Generator) -> Float[Tensor, "*shape"]:
    """Draws from N(0, 1)."""
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)


def laplace(like: Float[Tensor, "*shape"], generator: torch.Generator) -> Float[Tensor, "*shape"]:
    """Draws from the Laplace law of variance one: the difference of two exponential ones."""
    first, second = (torch.empty_like(like).exponential_(generator=generator) for _ in range(2))
    return (first - second) / sqrt(2)


def with_noise(
    tensors: Parameters, deviation: float, law: Law, generator: torch.Generator
) -> Parameters:
    """Every entry plus a draw of this standard deviation; without any, the tensors themselves."""
    if deviation == 0:
        return tensors
    return {name: value + deviation * law(value, generator) for name, value in tensors.items()}
