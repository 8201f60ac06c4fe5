"""Signs: one bit an entry.

Story       of every entry only the sign is sent, and of every tensor the mean of its magnitudes,
            which all its entries then have.
Paper       Bernstein, Wang, Azizzadenesheli, Anandkumar (2018), signSGD, ICML; the scale by the
            mean magnitude as in Karimireddy, Rebjock, Stich, Jaggi (2019), Error feedback fixes
            SignSGD, ICML, which keeps the direction useful to an average.
Departures  the error is not remembered and added to the next update, as with `TopK`. An entry that
            is 0 gets a sign at random: one bit knows no third value, and which entries are exactly
            0 tells which pixels were black and which units were off. Many such entries are noise
            that an average over clients must beat.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from fedsec.core.record import Update


@dataclass(frozen=True, kw_only=True)
class Signs:
    """Every entry becomes plus or minus the mean magnitude of its tensor."""

    def __call__(self, update: Update, generator: torch.Generator) -> Update:
        """The signs, decoded. Draws one number an entry."""
        tensors = update.checked().tensors
        return replace(
            update, tensors={name: signs(value, generator) for name, value in tensors.items()}
        )


def signs(value: Float[Tensor, "*shape"], generator: torch.Generator) -> Float[Tensor, "*shape"]:
    """Signs times the mean magnitude. A tensor of zeros stays as it is."""
    if not value.numel():
        return value.clone()
    chance = torch.rand(value.shape, generator=generator, device=value.device, dtype=torch.float32)
    up = (value > 0) | ((value == 0) & (chance < 0.5))
    size = value.abs().mean(dtype=torch.float64).to(value.dtype)
    return torch.where(up, size, -size)
