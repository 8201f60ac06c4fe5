"""Top-k: only the largest entries are sent.

Story   the entries of the whole update are ranked by magnitude; a share of them is kept, the rest
        is zero. It saves bandwidth, and takes from an attacker what the small entries tell.
Paper   Aji and Heafield (2017), Sparse communication for distributed gradient descent, EMNLP.
Departure   what is dropped is not remembered and added to the next update: a client that is chosen
        seldom has no next update soon. And the ranking is over the whole update, not per layer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fedsec.core.functional import flatten, unflatten
from fedsec.core.record import Update
from fedsec.errors import SettingsError


@dataclass(frozen=True, kw_only=True)
class TopK:
    """Keep the largest entries by magnitude over all tensors; the others become 0.

    share  of the entries, in (0, 1]; ceil(share * entries) are kept. It is read as the decimal
           that it prints as, so 0.07 of 100 entries are 7
    """

    share: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise SettingsError(f"top-k: share {self.share} is not in (0, 1]")

    def __call__(self, update: Update, generator: torch.Generator) -> Update:
        """The sparse update, its tensors dense with zeros. Draws nothing."""
        tensors = update.checked().tensors
        magnitude = flatten(tensors).abs()
        kept = unflatten(
            largest(magnitude, ceil(Fraction(str(self.share)) * len(magnitude))), tensors
        )
        return replace(
            update,
            tensors={
                name: torch.where(kept[name], value, torch.zeros_like(value))
                for name, value in tensors.items()
            },
        )


def largest(magnitude: Float[Tensor, " entry"], k: int) -> Bool[Tensor, " entry"]:
    """True for exactly `k` entries, none smaller than any other; of equals the first are taken."""
    threshold = magnitude.topk(k).values[-1]
    kept = magnitude > threshold
    equal = (magnitude == threshold).nonzero().squeeze(1)
    kept[equal[: k - int(kept.sum())]] = True
    return kept
