"""What noise on sums of clipped updates is worth: (epsilon, delta) after a number of rounds.

Mechanism   in every round each client takes part with probability `sample_rate`, independently of
            the others (Poisson sampling); the updates of those who do are clipped to L2 norm C and
            added up; the sum gets noise N(0, (noise_multiplier C)^2 I); all sums are published.
Neighbours  two populations that differ by one client, present in one and absent from the other
            ("add or remove one"). All that a client ever sends is protected, not a single sample.
            Read "sample" for "client", and the same numbers hold for DP-SGD (`per_sample`).
            At sampling rate 1, neighbours that replace one client by another are covered too: the
            sum moves by up to 2C, so halve the noise multiplier before asking.
Sampling    a fixed number K out of N in each round is another mechanism, as simulators and most
            deployments have it. The two can differ a lot (Lebeda, Regehr, Kamath, Steinke, 2024,
            Avoiding pitfalls for privacy accounting of subsampled mechanisms under composition), so
            `sample_rate=K/N` is then an approximation and no guarantee. What is one, wherever the
            choice of clients does not depend on their data: `sample_rate=1.0`, and as `steps` the
            most rounds that any one client was in.
Papers      Abadi et al. (2016), Deep learning with differential privacy, CCS; Mironov, Talwar,
            Zhang (2019), Rényi differential privacy of the sampled Gaussian mechanism (RDP); Gopi,
            Lee, Wutschitz (2021), Numerical composition of differential privacy, NeurIPS (PRV).
Code        the accountants of Opacus (extra `dp`); no mathematics of our own.

Both accountants give upper bounds. `prv` is nearly tight; `rdp` is looser by some 5 to 15 per cent
at usual settings (much more where epsilon is far below 1), and answers at any noise.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from math import inf, sqrt
from typing import Any, Protocol, runtime_checkable

import numpy as np

from fedsec.errors import SettingsError

ORDERS_ADDED = (64, 96, 128, 192, 256, 384, 512, 1000)  # of Rényi divergence, beside Opacus's
LARGEST_PRV = 600.0  # PRV computes exp in doubles, to exp(709), of up to 100 more than epsilon


@runtime_checkable
class Accountant(Protocol):
    """An upper bound on epsilon. `noise_multiplier` > 0, `steps` >= 1."""

    def __call__(
        self, noise_multiplier: float, sample_rate: float, steps: int, delta: float
    ) -> float:
        """Epsilon, at least 0."""


def rdp(noise_multiplier: float, sample_rate: float, steps: int, delta: float) -> float:
    """Epsilon by Rényi differential privacy: quick, and an upper bound that is not tight."""
    RDPAccountant, _ = _opacus_accountants()
    accountant = RDPAccountant()
    accountant.history = [(noise_multiplier, sample_rate, steps)]
    orders = [*RDPAccountant.DEFAULT_ALPHAS, *ORDERS_ADDED]
    with warnings.catch_warnings():
        # The bound holds at every order; that the best one is the first or the last is no fault.
        warnings.filterwarnings("ignore", "Optimal order is the", UserWarning)
        return max(0.0, float(accountant.get_epsilon(delta, alphas=orders)))


def prv(noise_multiplier: float, sample_rate: float, steps: int, delta: float) -> float:
    """Epsilon by composing privacy loss random variables with the FFT: an upper bound.

    It is above the exact value by about 0.002 of what `rdp` gives, or by 0.002 where that is below
    1. Raises SettingsError where epsilon is beyond what doubles hold (600: no privacy at all).
    """
    bound = rdp(noise_multiplier, sample_rate, steps, delta)
    if bound > LARGEST_PRV:
        raise SettingsError(
            f"noise multiplier {noise_multiplier} over {steps} steps at rate {sample_rate}: epsilon"
            f" is up to {bound:.0f}, which is no privacy and beyond the PRV accountant; add noise,"
            " take fewer steps, or account with `rdp`"
        )
    _, PRVAccountant = _opacus_accountants()
    accountant = PRVAccountant()
    accountant.history = [(noise_multiplier, sample_rate, steps)]
    error = min(max(0.001 * bound, 0.001), 0.5)
    with warnings.catch_warnings(), np.errstate(divide="ignore"):  # log(1 - q) = -inf at q = 1
        warnings.filterwarnings("ignore", "Optimal order is the", UserWarning)  # as in `rdp`
        return max(0.0, float(accountant.get_epsilon(delta, eps_error=error)))


ACCOUNTANTS = {"prv": prv, "rdp": rdp}


def epsilon(
    noise_multiplier: float,
    sample_rate: float,
    steps: int,
    delta: float,
    accountant: Accountant = prv,
) -> float:
    """Epsilon of `steps` rounds of the Poisson-subsampled Gaussian mechanism (see the module).

    noise_multiplier  standard deviation of the noise on the sum, in units of the clipping norm;
                      at least 0, where 0 gives infinity
    sample_rate       probability that a client takes part in a round, in (0, 1]
    steps             rounds (or optimiser steps, for DP-SGD), at least 0, where 0 gives 0
    delta             in (0, 1); choose it well below one over the number of clients (or samples)

    Raises SettingsError where one is out of its range.
    """
    if not 0 <= noise_multiplier < inf:
        raise SettingsError(f"noise multiplier {noise_multiplier} is not a number >= 0")
    if not 0 < sample_rate <= 1:
        raise SettingsError(f"sample rate {sample_rate} is not in (0, 1]")
    if not 0 < delta < 1:
        raise SettingsError(f"delta {delta} is not in (0, 1)")
    if steps < 0:
        raise SettingsError(f"{steps} steps: at least 0 are needed")
    if steps == 0:
        return 0.0
    if noise_multiplier == 0:
        return inf
    return accountant(noise_multiplier, sample_rate, steps, delta)


def aggregate_multiplier(multiplier: float, weights: Sequence[float]) -> float:
    """Noise multiplier of a weighted sum of updates that each got noise of their own.

    Client k sends an update of norm at most C with noise N(0, (multiplier C)^2), and the sum of
    weights[k] * update[k] is all that is seen. Removing client k (with the weights as they are)
    moves it by weights[k] C at most, against noise of multiplier C sqrt(sum weights^2): with K
    equal weights, `multiplier * sqrt(K)`. It counts on all of them to add their noise and to keep
    it to themselves. Weights are positive.
    """
    if not weights or min(weights) <= 0:
        raise SettingsError("weights: one positive number for each client is needed")
    return multiplier * sqrt(sum(weight**2 for weight in weights)) / max(weights)


def _opacus_accountants() -> tuple[Any, Any]:
    """The RDP and the PRV accountant."""
    try:
        from opacus.accountants import PRVAccountant, RDPAccountant
    except ImportError as error:
        raise ImportError("accounting needs opacus: pip install 'crowdlearn[dp]'") from error
    return RDPAccountant, PRVAccountant
