"""Gaussian noise on a clipped update: differential privacy of what a client sends.

Story   the update is clipped to L2 norm `norm`; every entry gets noise N(0, (multiplier norm)^2).
Paper   Dwork and Roth (2014), The algorithmic foundations of differential privacy, appendix A (the
        Gaussian mechanism); McMahan et al. (2018), ICLR, algorithm 1 (on clipped client updates).
Departure   McMahan et al. let a trusted server add noise once, to the sum. Here every client adds
        it before it sends, and trusts nobody. What that buys depends on who looks:

        who sees single updates (the server): a Gaussian mechanism of noise multiplier `multiplier`
        in each round that a client takes part in, with sampling rate 1 (who sees the update knows
        who sent it, so sampling hides nothing), for neighbours "this update" and "a zero one";
        half the multiplier for "this update" and "any other";
        who sees only sums of K such updates (after secure aggregation, or the published model): of
        noise multiplier `multiplier * sqrt(K)`; see `accounting.aggregate_multiplier`.

`accounting.epsilon` turns these into epsilon. It holds for `tensors`; the number of samples `n` is
taken to be public, and buffers are refused, because running statistics would go without noise.

The generator is a good one for simulations, and no cryptographic one: a deployment must seed it
from the system's entropy and keep the seed secret. Noise in floating point leaks through its lowest
bits (Mironov, 2012, CCS), which this does not prevent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from fedsec.core.record import Update
from fedsec.errors import SettingsError
from fedsec.federated.privacy.clip import Clip
from fedsec.federated.privacy.defence import without_buffers
from fedsec.federated.privacy.laws import gaussian, with_noise


@dataclass(frozen=True, kw_only=True)
class GaussianNoise:
    """Clip to `norm`, then add N(0, (multiplier * norm)^2) to every entry.

    multiplier  standard deviation of the noise in units of `norm`, at least 0; 0 only clips
    norm        L2 norm of the clipped update, greater than 0
    """

    multiplier: float = 1.0
    norm: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.multiplier < float("inf"):
            raise SettingsError(f"noise: multiplier {self.multiplier} is not a number >= 0")
        Clip(norm=self.norm)

    def __call__(self, update: Update, generator: torch.Generator) -> Update:
        """The clipped update with noise. Raises UpdateError where the update has buffers."""
        clipped = Clip(norm=self.norm)(without_buffers(update, "noise"), generator)
        deviation = self.multiplier * self.norm
        return replace(clipped, tensors=with_noise(clipped.tensors, deviation, gaussian, generator))
