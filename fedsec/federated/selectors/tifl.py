"""TiFL: clients of like accuracy form a tier; a round takes place in one tier.

Story           Every `interval` rounds all clients are probed and sorted by the accuracy of the
                global model on their data into tiers of equal number. Each round draws a tier and
                K clients inside it. All tiers are equally likely until the clients of the tier in
                use are no better at a profile than at the one before; from then on tiers of lower
                accuracy get more: m, m - 1, ..., 1 over their sum. A tier has so many credits from
                one profile to the next, and each round in it costs one.
Paper           Chai et al. (2020), HPDC, arXiv 2001.09249, algorithm 2; reduced to the selection
                rule as in FedEMD (arXiv 2106.10734v1), section 5.
Reconstructed   Tiers by accuracy, not by response time, so they are built anew at every profile
                (an untrained model says nothing); hence the ranks of the tiers are their numbers.
                Credits last until the next profile, for nobody knows here how many rounds will be.
                A tier of fewer than K clients is filled up from its neighbours, lower ones first.

What happened is read from the rounds: a round that probed every client was a profile, and the first
client of a round tells its tier.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int64

from fedsec.errors import SettingsError
from fedsec.federated.rounds import View
from fedsec.federated.selectors.checks import check_settings, check_view, probed

Profile = tuple[int, np.ndarray]  # number of the round, accuracy of each client before it


@dataclass(frozen=True, kw_only=True)
class Tifl:
    """Random clients of one tier.

    n_tiers    at most; never more than there are clients
    interval   rounds from one profile to the next, each of which costs a pass of every client
    credits    rounds that may take place in one tier from one profile to the next
    """

    needs_contribution: ClassVar[bool] = False
    needs_probe: ClassVar[bool] = True

    n_tiers: int = 5
    interval: int = 10
    credits: int = 4

    def __post_init__(self) -> None:
        check_settings(self, n_tiers=(1, math.inf), interval=(1, math.inf), credits=(1, math.inf))
        if self.n_tiers * self.credits < self.interval:
            raise SettingsError(
                f"{self.n_tiers} tiers of {self.credits} credits last less than the"
                f" {self.interval} rounds of an interval: give more credits"
            )

    def __call__(self, view: View, rng: np.random.Generator) -> Int64[np.ndarray, " chosen"]:
        """The ids, those of the drawn tier first.

        Raises SettingsError for more clients than there are and for a view that cannot probe where
        a profile is due.
        """
        check_view(view)
        past = profiles(view)
        if not past or view.number - past[-1][0] >= self.interval:
            now = probed(view, np.arange(view.n_clients))
            past.append((view.number, np.array([probe.accuracy for probe in now])))
        weights = self.tier_probabilities(view, past)
        drawn = int(rng.choice(len(weights), p=weights))
        order = rng.permutation(view.n_clients)
        away = tier_of(past[-1][1], self.n_tiers)[order] - drawn
        nearest = np.lexsort((away > 0, np.abs(away)))
        return order[nearest][: view.per_round].astype(np.int64)

    def tier_probabilities(self, view: View, past: list[Profile]) -> Float[np.ndarray, " tier"]:
        """Of the tiers of the newest profile, lowest accuracy first; sums to 1.

        Where all credits are spent, as with fewer clients than tiers, no tier is closed.
        """
        number, accuracy = past[-1]
        tier = tier_of(accuracy, self.n_tiers)
        n = int(tier.max()) + 1
        used = [tier[one.chosen[0]] for one in view.rounds if one.number >= number]
        left = self.credits - np.bincount(np.array(used, dtype=np.int64), minlength=n)
        falling = any(
            not improved(view, before, after, self.n_tiers) for before, after in pairwise(past)
        )
        weights = np.arange(n, 0, -1) if falling else np.ones(n)
        if (left > 0).any():
            weights = np.where(left > 0, weights, 0)
        found: np.ndarray = weights / weights.sum()
        return found


def profiles(view: View) -> list[Profile]:
    """The rounds that probed every client, with what they found."""
    return [
        (one.number, np.array([one.probed[c].accuracy for c in range(view.n_clients)]))
        for one in view.rounds
        if len(one.probed) == view.n_clients
    ]


def tier_of(accuracy: Float[np.ndarray, " client"], n_tiers: int) -> Int64[np.ndarray, " client"]:
    """The tier of each client, 0 the lowest accuracy; sizes differ by one at most.

    Of equals the earlier client comes first, so that later rounds find the same tiers.
    """
    n = len(accuracy)
    tier = np.empty(n, dtype=np.int64)
    tier[np.argsort(accuracy, kind="stable")] = np.arange(n) * min(n_tiers, n) // n
    return tier


def improved(view: View, before: Profile, after: Profile, n_tiers: int) -> bool:
    """Whether the clients of the tier in use before the later profile gained mean accuracy."""
    last = [one for one in view.rounds if before[0] <= one.number < after[0]][-1]
    tier = tier_of(before[1], n_tiers)
    inside = tier == tier[last.chosen[0]]
    return bool(after[1][inside].mean() > before[1][inside].mean())
