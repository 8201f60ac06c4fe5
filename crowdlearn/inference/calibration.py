"""Does a sampler draw from the posterior it claims? Simulation-based calibration.

Idea        Draw parameters from the story's prior, truths and votes from the parameters, and let
            the sampler infer from the votes. Whatever is then asked of the parameters (a number, a
            `quantity`), the rank of its true value among `n_ranks` independent posterior draws is
            uniform on 0 ... n_ranks, if and only if the draws come from the posterior, as far as
            that quantity can tell.
Test        The ranks of many worlds are compared with uniform ones by their ECDF: at each possible
            rank the count of worlds below is binomial, and the least of all two-sided binomial
            tail probabilities is referred to its distribution under uniformity, found by
            simulation. One test for all ranks together, of exact level up to simulation.
Reading     `spread` above 1: the posterior is too narrow, over-confident; below 1, too wide.
            `shift` above 0: the draws lie too low.
Names       A story that treats all classes alike (its Dirichlet rows flat) has a posterior in
            which every naming of the classes is as probable. A sampler that stays with one naming
            cannot pass on quantities that name a class, and need not: ask for `NAMELESS` ones.
Papers      Talts et al. (2018), arXiv 1804.06788; Modrak et al. (2023), Bayesian Analysis, for
            quantities that look at the data; Saeilynoja, Buerkner and Vehtari (2022), Statistics
            and Computing 32, section 2.2, for the test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int
from scipy.stats import binom

from crowdlearn.errors import SettingsError
from crowdlearn.inference.replicate import (
    Sites,
    chances_of,
    draw_worlds,
    over_draws,
    reading_of,
    right_of,
)
from crowdlearn.models.data import VoteData, vote_data
from crowdlearn.models.reading import Story
from crowdlearn.votes import Votes

NULL_SIMULATIONS = 10_000

NAMING = (
    "share of class 0",
    "accuracy of worker 0",
    "worker 0 says 1 for 0",
    "items of class 0",
)
"""Quantities that name a class."""

NAMELESS = (
    "log likelihood",
    "worker 0 says 0",
    "first two votes agree",
    "squared class counts",
)
"""Quantities that stay the same when the classes of the truth are renamed."""

Sampler = Callable[[Votes, int], Sites]
"""Votes and a seed -> posterior draws, site -> (draw, ...); nearly independent ones."""


@dataclass(frozen=True, eq=False)
class Uniformity:
    """How far ranks are from uniform."""

    p: float  # chance of ranks at least as far from uniform, if they were uniform
    deviation: float  # largest distance between their ECDF and the uniform one
    spread: float  # standard deviation of the ranks, that of uniform ones being 1
    shift: float  # mean of ranks, as a share of the way from 0 to n_ranks, less a half
    coverage: float  # share of worlds whose truth lies in the central 90 % of the draws


@dataclass(frozen=True, eq=False)
class Calibration:
    """Ranks of the true quantities among posterior draws, a row a world."""

    quantities: tuple[str, ...]
    ranks: Int[np.ndarray, "world quantity"]
    n_ranks: int  # a rank is one of 0 ... n_ranks

    @property
    def tests(self) -> dict[str, Uniformity]:
        """The test of every quantity on its own."""
        columns = zip(self.quantities, self.ranks.T, strict=True)
        return {name: uniformity(ranks, self.n_ranks) for name, ranks in columns}

    @property
    def p(self) -> float:
        """Chance of a quantity as far out as the worst, over all (Bonferroni)."""
        return min(1.0, len(self.quantities) * min(test.p for test in self.tests.values()))

    def to_table(self) -> pa.Table:
        """One row a quantity: quantity, p, deviation, spread, shift, coverage."""
        tests = self.tests
        names = ("p", "deviation", "spread", "shift", "coverage")
        columns = {name: [getattr(test, name) for test in tests.values()] for name in names}
        return pa.table({"quantity": list(tests), **columns})


def calibrate(
    story: Story,
    design: Votes,
    sampler: Sampler,
    *,
    quantities: Sequence[str] = NAMING + NAMELESS,
    n_worlds: int = 200,
    n_ranks: int = 99,
    seed: int = 0,
) -> Calibration:
    """Ranks over worlds in which the workers of `design` judge its items.

    The labels of `design` play no part. The sampler's draws are thinned evenly to `n_ranks`. Raises
    SettingsError where it gives fewer, where a quantity is unknown, or for no worlds.
    """
    unknown = [name for name in quantities if name not in NAMING + NAMELESS]
    if unknown or not quantities:
        raise SettingsError(
            f"quantity {unknown}: choose from {', '.join(NAMING + NAMELESS)}, one at least"
        )
    if n_worlds < 1 or n_ranks < 1:
        raise SettingsError(f"{n_worlds} worlds and {n_ranks} ranks: at least 1 of both is needed")
    data = vote_data(design)
    worlds, rng = draw_worlds(story, data, n_worlds, seed), np.random.default_rng(seed)
    ranks = []
    for world in range(n_worlds):
        votes = replace(design, label=worlds.label[world].astype(np.int32))
        drawn = _thinned(sampler(votes, seed + world), n_ranks)
        truth = {name: value[world : world + 1] for name, value in worlds.sites.items()}
        both = {name: np.concatenate([truth[name], drawn[name]]) for name in truth}
        found = quantities_of(story, votes, both, worlds.truth[world], seed + world)
        ranks.append([_rank(found[name], rng) for name in quantities])
    return Calibration(tuple(quantities), np.array(ranks), n_ranks)


def quantities_of(
    story: Story, votes: Votes, sites: Sites, truth: Int[np.ndarray, " item"], seed: int = 0
) -> dict[str, Float[np.ndarray, " draw"]]:
    """Every quantity under every draw. The first draw's truths are given, the others are drawn."""
    found, truths = over_draws(_quantities, story, vote_data(votes), sites, seed)
    truths = np.concatenate([truth[None], truths[1:]])
    counts = np.stack([(truths == k).sum(axis=1) for k in range(votes.n_classes)], axis=1)
    found["items of class 0"] = counts[:, 0].astype(np.float64)
    found["squared class counts"] = (counts**2).sum(axis=1).astype(np.float64)
    return found


def uniformity(ranks: Int[np.ndarray, " world"], n_ranks: int) -> Uniformity:
    """Are ranks uniform on 0 ... n_ranks? The simultaneous ECDF test."""
    n_worlds = len(ranks)
    null = _null(n_worlds, n_ranks)
    seen = _least_tail(np.bincount(ranks, minlength=n_ranks + 1)[None], n_ranks)[0]
    ecdf = np.bincount(ranks, minlength=n_ranks + 1).cumsum() / n_worlds
    share = (ranks + 0.5) / (n_ranks + 1)
    return Uniformity(
        p=float((1 + (null <= seen * (1 + 1e-9)).sum()) / (1 + len(null))),
        deviation=float(np.abs(ecdf - np.arange(1, n_ranks + 2) / (n_ranks + 1)).max()),
        spread=float(share.std() / np.sqrt((1 - 1 / (n_ranks + 1) ** 2) / 12)),
        shift=float(share.mean() - 0.5),
        coverage=float(((share > 0.05) & (share < 0.95)).mean()),
    )


def ecdf_band(
    n_worlds: int, n_ranks: int, level: float = 0.95
) -> tuple[Float[np.ndarray, " rank"], Float[np.ndarray, " rank"]]:
    """Lowest and highest share of worlds at or below each rank, that uniform ranks stay within.

    They do so everywhere at once with probability `level`.
    """
    tail = np.quantile(_null(n_worlds, n_ranks), 1 - level)
    at = np.arange(1, n_ranks + 2) / (n_ranks + 1)
    return binom.ppf(tail, n_worlds, at) / n_worlds, binom.isf(tail, n_worlds, at) / n_worlds


def _quantities(
    key: Array, story: Story, data: VoteData, sites: Sites
) -> tuple[dict[str, Float[Array, ""]], Int[Array, " item"]]:
    evidence = reading_of(story, data, sites).evidence(data)
    chances = chances_of(story, data, sites)
    per_class = evidence.shape[1] // data.n_classes
    own = (data.worker == 0) / jnp.maximum((data.worker == 0).sum(), 1)
    of_zero = chances.prior[data.item, :per_class]
    mixed = (of_zero * chances.label[:, :per_class, 1]).sum(axis=1) / of_zero.sum(axis=1)
    said = jnp.einsum("vs,vsc->vc", chances.prior[data.item], chances.label)
    both = chances.label[0] * chances.label[1]
    found = {
        "share of class 0": chances.prior[0, :per_class].sum(),
        "accuracy of worker 0": own @ right_of(data, chances),
        "worker 0 says 1 for 0": own @ mixed,
        "log likelihood": logsumexp(evidence, axis=1).sum(),
        "worker 0 says 0": own @ said[:, 0],
        "first two votes agree": chances.prior[0] @ both.sum(axis=1),
    }
    return found, jax.random.categorical(key, evidence, axis=1) // per_class


def _thinned(sites: Sites, n_ranks: int) -> Sites:
    n_draws = len(next(iter(sites.values())))
    if n_draws < n_ranks:
        raise SettingsError(
            f"the sampler gave {n_draws} draws where {n_ranks} are ranked: raise its n_draws, or "
            "lower n_ranks"
        )
    chosen = np.linspace(n_draws / n_ranks - 1, n_draws - 1, n_ranks).astype(int)
    return {name: np.asarray(value)[chosen] for name, value in sites.items()}


def _rank(values: Float[np.ndarray, " draw"], rng: np.random.Generator) -> int:
    """Place of the first value among the others, ties broken at random."""
    below, equal = (values[1:] < values[0]).sum(), (values[1:] == values[0]).sum()
    return int(below + rng.integers(equal + 1))


@lru_cache(maxsize=8)
def _null(n_worlds: int, n_ranks: int) -> Float[np.ndarray, " simulation"]:
    """Least tail probabilities of uniform ranks."""
    rng = np.random.default_rng(0)
    flat = np.full(n_ranks + 1, 1 / (n_ranks + 1))
    return _least_tail(rng.multinomial(n_worlds, flat, NULL_SIMULATIONS), n_ranks)


def _least_tail(counts: Int[np.ndarray, "row rank"], n_ranks: int) -> Float[np.ndarray, " row"]:
    """Least binomial tail probability over the ranks, of counts of each rank."""
    below = counts.cumsum(axis=1)[:, :-1]
    n, at = counts[0].sum(), np.arange(1, n_ranks + 1) / (n_ranks + 1)
    possible = np.arange(n + 1)[:, None]
    tails = np.minimum(binom.cdf(possible, n, at), binom.sf(possible - 1, n, at))
    return tails[below, np.arange(n_ranks)].min(axis=1)
