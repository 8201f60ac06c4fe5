"""Would votes like these come from the story? Posterior predictive checks that people can read.

Idea        Let the same workers judge the same items again, as the story has it: draw parameters
            from the posterior, every item's state given its votes, then every label. Whatever can
            be measured on votes is measured on many such replicates, and on the votes themselves.
            Where what was seen lies outside what was predicted, the story is wrong in that
            respect.
Reading     `p` of an entry is two-sided: twice the smaller share of replicates on either side of
            what was seen, ties counting half. The votes helped to fit the story, so p is drawn to
            the middle where the story is right: an extreme p means more than it says, a mild one
            less. `p_all` is for all entries of a statistic together: the share of replicates that
            are as far out as the votes are, by the sum of squared standard scores.
Papers      Gelman, Meng and Stern (1996), Statistica Sinica 6; Paun et al. (2018), section 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from crowdlearn.criticism.statistics import STATISTICS, Measure
from crowdlearn.errors import SettingsError
from crowdlearn.inference.replicate import Sites, draw_again, flattened, over_draws
from crowdlearn.models.data import vote_data
from crowdlearn.models.reading import Story
from crowdlearn.votes import Votes

EXTREME = 0.01  # a `p_all` below it is called a misfit
LEVEL = 0.9  # of the predicted intervals
MEANING = {
    "agreement": "the story misjudges how often two votes on an item agree",
    "alpha": "the story misjudges how often votes agree beyond chance",
    "unanimous": "items differ in difficulty more or less than the story has it: idbla, ebcc",
    "class-share": "the story misjudges how often classes are said",
    "worker-agreement": "some workers agree with the others more or less than predicted",
    "worker-labels": "some workers favour classes in ways the story does not know",
    "worker-confusion": "some workers mix up classes in ways the story does not know",
    "pair-agreement": "some workers agree more than their skill explains, as copies or on the same "
    "hard items: look at these pairs; ebcc and idbla let items share errors",
}
"""What a misfit of a statistic suggests."""


@dataclass(frozen=True, eq=False)
class Check:
    """One statistic: what replicates of the votes have, against what the votes have."""

    statistic: str
    entries: tuple[str, ...]
    seen: Float[np.ndarray, " entry"]
    mean: Float[np.ndarray, " entry"]  # over replicates, as are the next two
    low: Float[np.ndarray, " entry"]  # 5 % quantile
    high: Float[np.ndarray, " entry"]  # 95 % quantile
    p: Float[np.ndarray, " entry"]
    p_all: float

    @property
    def n_outside(self) -> int:
        """Entries seen outside their 90 % interval."""
        return int(((self.seen < self.low) | (self.seen > self.high)).sum())

    @property
    def misfit(self) -> bool:
        """Is the statistic so far out that the story is wrong about it?"""
        return self.p_all < EXTREME

    def __str__(self) -> str:
        n = len(self.entries)
        outside = f"{self.n_outside:,} of {n:,} outside the predicted {LEVEL:.0%} interval"
        if n == 1:
            outside = f"seen {self.seen[0]:.3f}, predicted {self.low[0]:.3f} to {self.high[0]:.3f}"
        meaning = f": {MEANING.get(self.statistic, 'a misfit')}" if self.misfit else ""
        return f"{self.statistic}: {outside} (p {self.p_all:.3f}){meaning}"


def check(
    story: Story,
    votes: Votes,
    sites: Sites,
    *,
    gold: Int[np.ndarray, " item"] | None = None,
    statistics: Mapping[str, Measure] = STATISTICS,
    n_replicates: int = 500,
    seed: int = 0,
) -> dict[str, Check]:
    """Predicted against seen for every statistic that these votes have an entry of.

    `sites` are posterior draws of (chain, draw, ...); evenly spaced ones are used, one for each
    replicate. Raises SettingsError for fewer than 20 of them.
    """
    flat = flattened(sites)
    n_draws = len(next(iter(flat.values()), ()))
    if min(n_draws, n_replicates) < 20:
        raise SettingsError(
            f"{n_replicates} replicates of {n_draws} draws: at least 20 of both are needed"
        )
    chosen = np.linspace(0, n_draws - 1, min(n_draws, n_replicates)).astype(int)
    thinned = {name: value[chosen] for name, value in flat.items()}
    _, labels = over_draws(draw_again, story, vote_data(votes, gold), thinned, seed)
    return checks_of(votes, labels, statistics)


def checks_of(
    votes: Votes,
    labels: Int[np.ndarray, "replicate vote"],
    statistics: Mapping[str, Measure] = STATISTICS,
) -> dict[str, Check]:
    """The votes against replicates of their labels, wherever these come from."""
    ready = {name: measure(votes) for name, measure in statistics.items()}
    return {
        name: _compare(
            name,
            statistic.entries,
            statistic.of(votes.label),
            np.stack([statistic.of(label) for label in labels]),
        )
        for name, statistic in ready.items()
        if statistic.entries
    }


def checks_table(checks: Mapping[str, Check]) -> pa.Table:
    """One row an entry: statistic, entry, seen, mean, low, high, p."""
    rows = list(checks.values())
    columns = {
        name: np.concatenate([np.zeros(0), *(getattr(row, name) for row in rows)])
        for name in ("seen", "mean", "low", "high", "p")
    }
    return pa.table(
        {
            "statistic": pa.array([r.statistic for r in rows for _ in r.entries], pa.string()),
            "entry": pa.array([entry for r in rows for entry in r.entries], pa.string()),
            **columns,
        }
    )


def _compare(
    name: str,
    entries: tuple[str, ...],
    seen: Float[np.ndarray, " entry"],
    replicates: Float[np.ndarray, "replicate entry"],
) -> Check:
    n = len(replicates)
    above = (replicates > seen).sum(axis=0) + 0.5 * (replicates == seen).sum(axis=0)
    upper = (above + 0.5) / (n + 1)
    low, high = np.quantile(replicates, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return Check(
        statistic=name,
        entries=entries,
        seen=seen.astype(np.float64),
        mean=replicates.mean(axis=0),
        low=low,
        high=high,
        p=2 * np.minimum(upper, 1 - upper),
        p_all=_joint_p(seen, replicates),
    )


def _joint_p(
    seen: Float[np.ndarray, " entry"], replicates: Float[np.ndarray, "replicate entry"]
) -> float:
    """Rank of the votes among all, by distance from the mean of all; they count among these."""
    pool = np.concatenate([seen[None], replicates])
    centred = pool - pool.mean(axis=0)
    spread = centred.std(axis=0)
    far = ((centred / np.where(spread > 1e-12, spread, np.inf)) ** 2).sum(axis=1)
    return float((far >= far[0] * (1 - 1e-9)).mean())
