"""Stochastic quantisation: few bits an entry, right on average.

Story   each tensor gets a grid of 2^bits - 1 values, symmetric about 0, as wide as its largest
        entry. An entry goes to one of its two neighbours on the grid, to the upper one with
        probability equal to how far it is from the lower: so its expectation is itself.
Paper   Suresh, Yu, Kumar, McMahan (2017), Distributed mean estimation with limited communication,
        ICML, section 2.2 (stochastic k-level quantisation).
Departure   the grid spans [-max |entry|, max |entry|], not [min, max]: 0 is on it, and stays 0.

On the wire: `bits` an entry and one number a tensor. What is returned is the decoded update.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from fedsec.core.record import Update
from fedsec.errors import SettingsError


@dataclass(frozen=True, kw_only=True)
class Quantise:
    """Round every tensor's entries to 2^bits - 1 levels, at random and without bias.

    bits  2 to 16. An entry moves by less than max |entry of its tensor| / (2^(bits - 1) - 1)
    """

    bits: int = 8

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 16:
            raise SettingsError(f"quantise: {self.bits} bits; between 2 and 16 are supported")

    def __call__(self, update: Update, generator: torch.Generator) -> Update:
        """The quantised update, decoded."""
        n_positive = 2 ** (self.bits - 1) - 1
        tensors = update.checked().tensors
        return replace(
            update,
            tensors={
                name: quantised(value, n_positive, generator) for name, value in tensors.items()
            },
        )


def quantised(
    value: Float[Tensor, "*shape"], n_positive: int, generator: torch.Generator
) -> Float[Tensor, "*shape"]:
    """Entries rounded at random to max |value| * {-n_positive, ..., n_positive} / n_positive."""
    wide = value.double()
    largest = wide.abs().max() if value.numel() else wide.sum()
    chance = torch.rand(wide.shape, generator=generator, device=wide.device, dtype=wide.dtype)
    share = wide / torch.where(largest > 0, largest, torch.ones_like(largest))  # in [-1, 1]
    level = (share * n_positive + chance).floor().clamp(max=n_positive)  # the sum may round up
    return (level / n_positive * largest).to(value.dtype)
