"""Oort: the clients with most to learn from, soon enough, and some that nobody knows yet.

Story           Exploit: a client is worth its samples times the root mean square of their losses
                when it last took part, clipped at a high quantile and scaled to [0, 1]; plus a
                bonus for the time since. Slow clients are worth less. Of those that come near the
                last place the choice is random, in proportion. Explore: the rest of the places goes
                to clients that never took part, larger ones first. Exploring fades out.
Paper           Lai et al. (2021), OSDI, algorithm 1, and its published code, `oort/oort.py` of
                github.com/SymbioticLab/Oort, whose numbers these are; `cut_off` is .95 in the
                paper and .7 in the code.
Departures      Utilities are scaled by the clients that took part alone, after clipping; the code
                mixes in the sizes of the others. Places that exploring cannot fill are exploited,
                not random. No client is ruled out for having taken part often.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int64

from fedsec.errors import SettingsError
from fedsec.federated.rounds import View
from fedsec.federated.selectors.checks import check_settings, check_view
from fedsec.federated.selectors.reservoir import weighted_reservoir


@dataclass(frozen=True, kw_only=True)
class Oort:
    """Exploits utility and explores by size.

    explore            share of the places for clients that never took part, in the first round
    explore_decay      factor of that share from round to round
    explore_least      the share never falls below it while there are such clients
    clip               quantile of the utilities at which larger ones are cut
    cut_off            share of the utility of the last place that a client must reach
    window             of n places to explore, the n * window largest clients are candidates
    staleness          weight under the root of the bonus, sqrt(staleness * ln(round) / last round)
    duration           quantile of the clients' seconds that is quick enough; 1 for all of them, as
                       seconds are measured and no run repeats them to the bit
    duration_penalty   power of (quick enough / seconds), for slower clients
    pacer_step         rounds after which `duration` may be relaxed, or tightened
    pacer_delta        by how much
    """

    needs_contribution: ClassVar[bool] = False
    needs_probe: ClassVar[bool] = False

    explore: float = 0.9
    explore_decay: float = 0.95
    explore_least: float = 0.2
    clip: float = 0.95
    cut_off: float = 0.7
    window: float = 5.0
    staleness: float = 0.1
    duration: float = 1.0
    duration_penalty: float = 2.0
    pacer_step: int = 20
    pacer_delta: float = 0.05

    def __post_init__(self) -> None:
        shares = ("explore", "explore_decay", "explore_least", "clip", "cut_off", "duration")
        check_settings(self, **dict.fromkeys(shares, (0, 1)), pacer_delta=(0, 1))
        check_settings(self, window=(1, math.inf), staleness=(0, math.inf))
        check_settings(self, duration_penalty=(0, math.inf), pacer_step=(1, math.inf))
        if self.explore_least > self.explore:
            raise SettingsError(
                f"explore_least is {self.explore_least}, above explore, {self.explore}"
            )

    def __call__(self, view: View, rng: np.random.Generator) -> Int64[np.ndarray, " chosen"]:
        """The ids, exploited ones first. Raises SettingsError for more clients than there are."""
        check_view(view)
        tried = view.times_chosen() > 0
        n_exploit = self.n_exploit(view)
        known, unknown = np.flatnonzero(tried), np.flatnonzero(~tried)
        worth = self.scores(view)[known]
        good = worth >= self.cut_off * last_place(worth, n_exploit)
        old = known[good][weighted_reservoir(worth[good], n_exploit, rng)]
        n_explore = view.per_round - n_exploit
        shuffled = rng.permutation(unknown)
        largest = shuffled[np.argsort(-view.sizes[shuffled], kind="stable")]
        candidates = largest[: math.ceil(self.window * n_explore)]
        size = view.sizes[candidates].astype(np.float64)
        new = candidates[weighted_reservoir(size, n_explore, rng)]
        return np.concatenate([old, new])

    def n_exploit(self, view: View) -> int:
        """Places of the round to come for clients that took part before."""
        share = max(self.explore * self.explore_decay ** (view.number - 1), self.explore_least)
        n_tried = int((view.times_chosen() > 0).sum())
        wanted = math.floor(view.per_round * (1 - share) + 1e-9)  # 10 * (1 - .9) is below 1
        return max(min(wanted, n_tried), view.per_round - (view.n_clients - n_tried))

    def scores(self, view: View) -> Float[np.ndarray, " client"]:
        """What each client is worth, at least 0; NaN for those that never took part."""
        last, worth = view.last_round(), np.full(view.n_clients, np.nan)
        tried = last > 0
        if not tried.any():
            return worth
        bonus = np.sqrt(self.staleness * math.log(view.number) / last[tried])
        worth[tried] = scaled(utility(view)[tried], self.clip) + bonus
        seconds = view.last_known(lambda one: one.seconds)[tried]
        worth[tried] *= slowness(seconds, self.quick_quantile(view), self.duration_penalty)
        return worth

    def quick_quantile(self, view: View) -> float:
        """The quantile of the seconds that is quick enough by now: `duration`, as the pacer has it.

        Flat utility (a change of at most a tenth from one `pacer_step` to the next) lets slower
        clients in, a steep change (of five times) keeps them out. At 1 the pacer rests.
        """
        quantile, step = self.duration, self.pacer_step
        gained = exploited_utility(view)
        for end in range(2 * step, len(gained) + 1, step):
            before = gained[end - 2 * step : end - step].sum()
            change = abs(gained[end - step : end].sum() - before)
            if quantile >= 1:
                break
            if change <= 0.1 * before:
                quantile = min(1.0, quantile + self.pacer_delta)
            elif change >= 5 * before:
                quantile = max(self.pacer_delta, quantile - self.pacer_delta)
        return quantile


def utility(view: View) -> Float[np.ndarray, " client"]:
    """Samples times root mean square loss when a client last took part; NaN where it never did.

    0 where that is not finite: a client whose training diverged has nothing to offer.
    """
    found = view.last_known(lambda one: one.n * one.loss_rms)
    wrong = (view.last_round() > 0) & ~np.isfinite(found)
    return np.where(wrong, 0.0, found)


def scaled(utility: Float[np.ndarray, " known"], clip: float) -> Float[np.ndarray, " known"]:
    """Clipped at the quantile, then scaled so that .999 of the least is 0 and the most is 1."""
    at = np.sort(utility)[min(int(clip * len(utility)), len(utility) - 1)]
    least = 0.999 * utility.min()
    found: np.ndarray = (np.minimum(utility, at) - least) / max(at - least, 1e-12)
    return found


def slowness(
    seconds: Float[np.ndarray, " known"], quantile: float, penalty: float
) -> Float[np.ndarray, " known"]:
    """(T / seconds) ** penalty of those slower than T, the quantile of all; 1 for the others."""
    if quantile >= 1:
        return np.ones(len(seconds))
    quick = np.sort(seconds)[int(quantile * len(seconds))]
    return np.where(seconds > quick, quick / np.maximum(seconds, 1e-4), 1.0) ** penalty


def exploited_utility(view: View) -> Float[np.ndarray, " round"]:
    """The mean utility, in each round, of the clients that had taken part before; 0 for none."""
    before = np.zeros(view.n_clients, dtype=bool)
    gained = np.zeros(len(view.rounds))
    for r, one in enumerate(view.rounds):
        again = before[one.chosen] & np.isfinite(one.loss_rms)
        if again.any():
            gained[r] = (one.n * one.loss_rms)[again].mean()
        before[one.chosen] = True
    return gained


def last_place(worth: Float[np.ndarray, " known"], n: int) -> float:
    """The n-th largest; 0 for n = 0."""
    return float(np.sort(worth)[-n]) if n else 0.0
