"""Does what a client is credited with match the data it brought?

Story       A client's relative contribution is its share of all credit in the round, its data share
            its part of the data; a fair measure of contribution makes them alike.
Paper       FedEMD, arXiv 2106.10734, section 3: U_k = 1 - |q_k - rc_k|, and
            U = 1 - (1/TK) sum_t sum_k |q_k - rc_k|.
Departures  Values may be negative, and the paper does not say how they become shares. Its early
            shares of a Maverick, .08 of 5, exclude min-max; the softmax gives its picture, and is
            the default here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int
from scipy.special import softmax

from fedsec.errors import SettingsError

Shares = Callable[[Float[np.ndarray, " player"]], Float[np.ndarray, " player"]]
"""values -> shares: at least 0, and summing to 1."""


def softmax_shares(values: Float[np.ndarray, " player"]) -> Float[np.ndarray, " player"]:
    """exp(value) over its sum: unmoved by adding a constant, but the unit matters."""
    return softmax(values)


def shifted_shares(values: Float[np.ndarray, " player"]) -> Float[np.ndarray, " player"]:
    """The least value becomes 0, and the rest its part of the sum; equal values, equal shares."""
    return _over_sum(values - values.min())


def clipped_shares(values: Float[np.ndarray, " player"]) -> Float[np.ndarray, " player"]:
    """Negative values become 0, and the rest its part of the sum; equal shares if none is left."""
    return _over_sum(np.maximum(values, 0))


def relative_contribution(
    values: Float[np.ndarray, " player"], kind: Shares = softmax_shares
) -> Float[np.ndarray, " player"]:
    """Each player's share of all credit: at least 0, and summing to 1.

    Raises SettingsError where there is no player or a value is not finite.
    """
    if not len(values) or not np.isfinite(values).all():
        raise SettingsError(f"contributions {values.tolist()}: finite numbers, at least one")
    return kind(values)


def data_share(n: Int[np.ndarray, " player"]) -> Float[np.ndarray, " player"]:
    """q_k, each player's part of all samples. Raises SettingsError where there are none."""
    if n.sum() < 1 or n.min() < 0:
        raise SettingsError(f"samples {n.tolist()}: numbers from 0 on, at least one above")
    return n / n.sum()


def client_fairness(
    relative: Float[np.ndarray, " player"], share: Float[np.ndarray, " player"]
) -> Float[np.ndarray, " player"]:
    """U_k of one round, in [0, 1]; 1 where credit and data agree."""
    return 1 - np.abs(share - relative)


def system_fairness(
    relative: Float[np.ndarray, "round player"], share: Float[np.ndarray, "round player"]
) -> float:
    """U over all rounds and their players, in [1 - 2/K, 1]; 1 is ideal.

    Raises SettingsError where there is no round.
    """
    if not relative.size:
        raise SettingsError("no round: the fairness of nothing is not defined")
    return float(1 - np.abs(share - relative).mean())


def _over_sum(credit: Float[np.ndarray, " player"]) -> Float[np.ndarray, " player"]:
    total = credit.sum()
    return credit / total if total > 0 else np.full(len(credit), 1 / len(credit))
