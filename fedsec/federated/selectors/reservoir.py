"""Weighted choice without replacement: every client races, and the first k are taken.

Story   Client i waits -log(u_i) / p_i with u_i ~ U(0, 1); the k shortest waits are chosen.
        So the first is i with probability p_i, the next with p_j / (1 - p_i), and so on, as if
        drawn one after the other from those that are left.
Paper   Efraimidis and Spirakis (2006), Information Processing Letters 97(5), algorithm A: the k
        largest keys u_i ** (1 / p_i). Compared here by log p_i - log(-log u_i), the same order,
        which neither overflows nor ties for tiny p.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int64

from fedsec.errors import SettingsError


def weighted_reservoir(
    p: Float[np.ndarray, " client"], k: int, rng: np.random.Generator
) -> Int64[np.ndarray, " chosen"]:
    """k different clients, in the order of sequential draws with these weights.

    Weights need not sum to 1. A client of weight 0 is chosen only where there are too few others,
    and then as likely as each of its kind. Raises SettingsError for a weight that is negative or
    not finite, and for more clients than there are.
    """
    if not 0 <= k <= len(p):
        raise SettingsError(f"cannot choose {k} different clients of {len(p)}: take 0 to {len(p)}")
    wrong = np.flatnonzero(~(np.isfinite(p) & (p >= 0)))
    if len(wrong):
        raise SettingsError(f"the weight of client {wrong[0]} is {p[wrong[0]]}, not 0 or above")
    wait = rng.standard_exponential(len(p))
    with np.errstate(divide="ignore"):
        key = np.where(p > 0, np.log(p), 0.0) - np.log(wait)
    return np.lexsort((-key, p == 0))[:k].astype(np.int64)
