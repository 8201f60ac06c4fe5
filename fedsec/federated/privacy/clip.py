"""Clipping: no client moves the model by more than a given distance.

Story   an update longer than `norm` is shortened to it; a shorter one is sent as it is.
Use     bounds what one client can do to the sum: the sensitivity that Gaussian noise is scaled by,
        and the weight of an attacker who boosts its update.
Paper   McMahan, Ramage, Talwar, Zhang (2018), Learning differentially private recurrent language
        models, ICLR, algorithm 1 (FlatClip).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from fedsec.core.functional import Parameters
from fedsec.core.record import Update
from fedsec.errors import SettingsError


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Scale the update so that the L2 norm of all its entries together is at most `norm`.

    norm  greater than 0, in the units of the update

    An update that is short enough comes back bit for bit, so clipping twice is clipping once.
    """

    norm: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.norm < float("inf"):
            raise SettingsError(f"clip: norm {self.norm} is not a positive number")

    def __call__(self, update: Update, generator: torch.Generator) -> Update:
        """The clipped update. Draws nothing."""
        tensors = update.checked().tensors
        found = total_norm(tensors)
        if found <= self.norm:
            return update
        factor = self.norm / found * (1 - _rounding(tensors))
        return replace(update, tensors={name: factor * value for name, value in tensors.items()})


def total_norm(tensors: Parameters) -> float:
    """L2 norm of all entries of all tensors together, summed in double precision."""
    norms = [torch.linalg.vector_norm(value, dtype=torch.float64) for value in tensors.values()]
    return float(torch.linalg.vector_norm(torch.stack(norms)))


def _rounding(tensors: Parameters) -> float:
    """Relative: what rounding the entries, and summing the norm, may add to the norm."""
    return max(1e-12, *(torch.finfo(value.dtype).eps for value in tensors.values()))
