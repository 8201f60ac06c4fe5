"""Noise on an update that is not clipped, as papers on gradient leakage add it.

Story       every entry gets noise of one standard deviation, given in the units of the update
            (`AbsoluteNoise`) or in units of the root mean square of its entries (`RelativeNoise`).
Use         to compare with the literature, and to sweep a defence's strength. A deviation in
            absolute units means nothing across networks, nor across rounds of one: gradients
            shrink as training goes on. The relative one is a noise-to-signal ratio.
Paper       Zhu, Liu, Han (2019), Deep leakage from gradients, NeurIPS, section 5 (Gaussian and
            Laplacian noise of variance 1e-4 to 1e-1).
Departure   noise is given by its standard deviation, for both laws alike.

No promise  Without clipping one sample can move an update by any amount, so no noise hides it:
            this has no epsilon. `RelativeNoise` even tells how long the update is. Where a promise
            is wanted, `GaussianNoise` clips first. Buffers are sent as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from fedsec.core.functional import Parameters
from fedsec.core.record import Update
from fedsec.errors import SettingsError
from fedsec.federated.privacy.clip import total_norm
from fedsec.federated.privacy.laws import Law, gaussian, with_noise


@dataclass(frozen=True, kw_only=True)
class AbsoluteNoise:
    """Add noise of standard deviation `deviation` to every entry.

    deviation  in the units of the update, at least 0
    law        of the noise: `gaussian` or `laplace`
    """

    deviation: float = 1e-3
    law: Law = gaussian

    def __post_init__(self) -> None:
        _check(self.deviation, "deviation")

    def __call__(self, update: Update, generator: torch.Generator) -> Update:
        """The update with noise."""
        tensors = update.checked().tensors
        return replace(update, tensors=with_noise(tensors, self.deviation, self.law, generator))


@dataclass(frozen=True, kw_only=True)
class RelativeNoise:
    """Add noise of standard deviation `scale` times the RMS of all entries of all tensors.

    scale  noise to signal, at least 0: at 1 the noise is as long as the update
    law    of the noise: `gaussian` or `laplace`

    One deviation serves all tensors, so layers of small gradients are hidden better than others.
    """

    scale: float = 0.1
    law: Law = gaussian

    def __post_init__(self) -> None:
        _check(self.scale, "scale")

    def __call__(self, update: Update, generator: torch.Generator) -> Update:
        """The update with noise."""
        tensors = update.checked().tensors
        deviation = self.scale * root_mean_square(tensors)
        return replace(update, tensors=with_noise(tensors, deviation, self.law, generator))


def root_mean_square(tensors: Parameters) -> float:
    """Of all entries of all tensors together; 0 where there are none."""
    n = sum(value.numel() for value in tensors.values())
    return float(total_norm(tensors) / n**0.5) if n else 0.0


def _check(value: float, name: str) -> None:
    if not 0 <= value < float("inf"):
        raise SettingsError(f"noise: {name} {value} is not a number >= 0")
