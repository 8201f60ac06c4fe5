"""How well does a story predict a vote that it has not seen? Leave-one-out over votes.

Definition  elpd = sum over votes v of log p(label v | all other votes): parameters and truths are
            both integrated over. Larger is better; differences are in nats.
Method      Given a draw of the parameters, with the item's state summed out,
                log p(v | the item's other votes) = logsumexp(e) - logsumexp(e - l_v),
            where e[s] is the log joint of state s and all votes of the item, l_v[s] the log
            probability of v. Votes of other items say nothing more once the parameters are given.
            As p(draw | other votes) is proportional to p(draw | all) / p(v | others, draw), the
            mean of 1 / p(v | others, draw) over draws from the full posterior is
            1 / p(v | other votes): importance sampling, whose weights are smoothed by a Pareto
            tail (PSIS). The tail's shape k says how far to trust it.
Papers      Vehtari, Gelman and Gabry (2017), Statistics and Computing 27; Vehtari et al. (2024),
            JMLR 25(72), for the threshold on k. Computed by ArviZ.
Departures  None; but the standard errors take votes as independent, and votes of one item are not:
            read a difference below four of them with care. Draws of a variational posterior are
            weighted as if they were of the posterior itself: the result is then only as good as it.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int

from crowdlearn.arviz_import import import_arviz
from crowdlearn.errors import SettingsError
from crowdlearn.inference.diagnostics import ess_bulk
from crowdlearn.inference.replicate import Sites, flattened, over_draws, reading_of
from crowdlearn.models.data import VoteData, items_of, vote_data
from crowdlearn.models.reading import Story
from crowdlearn.votes import Votes

MAX_ENTRIES = 1 << 25  # votes x draws held at a time
LEAST_DRAWS = 100  # fewer leave no tail to smooth


@dataclass(frozen=True, eq=False)
class Loo:
    """Leave-one-out predictive accuracy of a story, in nats."""

    elpd: float
    se: float  # of elpd, votes taken as independent
    p_loo: float  # effective number of parameters
    elpd_vote: Float[np.ndarray, " vote"]
    pareto_k: Float[np.ndarray, " vote"]
    n_draws: int
    good_k: float  # a vote above it cannot be trusted

    @property
    def n_bad(self) -> int:
        """Votes whose left-out probability cannot be trusted."""
        return int((self.pareto_k > self.good_k).sum())

    @property
    def advice(self) -> str:
        """What to make of it, as a sentence."""
        n = len(self.pareto_k)
        if self.n_bad == 0:
            return f"all {n:,} left-out votes are estimated well (Pareto k up to {self.good_k:.2f})"
        return (
            f"{self.n_bad:,} of {n:,} votes change the posterior too much when left out (Pareto k "
            f"above {self.good_k:.2f}), so elpd is too high or noisy there: draw more, or use a "
            "story that lets workers share what is learned (bcc-hyper, hierarchical-dawid-skene), "
            "or refit without these votes"
        )

    def to_arviz(self) -> Any:
        """As ArviZ's `ELPDData`, for its own functions and plots."""
        import xarray

        elpd_data = import_arviz().stats.stats_utils.ELPDData
        by_vote = xarray.DataArray(self.elpd_vote, dims=["vote"], name="loo_i")
        shape = xarray.DataArray(self.pareto_k, dims=["vote"], name="pareto_shape")
        values = {
            "elpd_loo": self.elpd,
            "se": self.se,
            "p_loo": self.p_loo,
            "n_samples": self.n_draws,
            "n_data_points": len(self.elpd_vote),
            "warning": self.n_bad > 0,
            "loo_i": by_vote,
            "pareto_k": shape,
            "scale": "log",
            "good_k": self.good_k,
        }
        return elpd_data(data=list(values.values()), index=list(values))


def loo(
    story: Story,
    votes: Votes,
    sites: Sites,
    *,
    gold: Int[np.ndarray, " item"] | None = None,
    log_density: Float[np.ndarray, "chain draw"] | None = None,
) -> Loo:
    """PSIS leave-one-vote-out from draws of the posterior, `sites` of (chain, draw, ...).

    `log_density` tells how dependent the draws are; left out, they count as independent. Votes are
    worked on in parts, so that memory stays below 1 GB. Raises SettingsError for fewer than 100
    draws.
    """
    flat = flattened(sites)
    n_draws = len(next(iter(flat.values()), ()))
    if n_draws < LEAST_DRAWS:
        raise SettingsError(
            f"{n_draws} draws are too few to leave votes out: at least {LEAST_DRAWS} are needed"
        )
    efficiency = 1.0
    if log_density is not None:
        efficiency = min(float(ess_bulk(log_density)) / log_density.size, 1.0)
    parts = [
        _smoothed(over_draws(_left_out, story, part, flat), efficiency)
        for part in _parts(vote_data(votes, gold), n_draws)
    ]
    elpd_vote, pareto_k, in_sample = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Loo(
        elpd=float(elpd_vote.sum()),
        se=float(np.sqrt(len(elpd_vote) * elpd_vote.var())),
        p_loo=float((in_sample - elpd_vote).sum()),
        elpd_vote=elpd_vote,
        pareto_k=pareto_k,
        n_draws=n_draws,
        good_k=min(1 - 1 / np.log10(n_draws), 0.7),
    )


def compare(results: Mapping[str, Loo]) -> pa.Table:
    """Stories side by side, best first; all must be of the same votes.

    One row a story: story, elpd, se, p_loo, difference (to the best), difference_se, weight (by
    stacking: the mixture of stories that predicts left-out votes best), n_bad. Raises SettingsError
    for fewer than two stories, or different numbers of votes.
    """
    arviz = import_arviz()
    sizes = {name: len(result.elpd_vote) for name, result in results.items()}
    if len(sizes) < 2 or len(set(sizes.values())) != 1:
        raise SettingsError(f"comparing needs two stories or more, of the same votes; got {sizes}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on Pareto k, which `n_bad` tells
        table = arviz.compare({name: result.to_arviz() for name, result in results.items()})
    ranked = [str(name) for name in table.index]
    return pa.table(
        {
            "story": ranked,
            "elpd": [results[name].elpd for name in ranked],
            "se": [results[name].se for name in ranked],
            "p_loo": [results[name].p_loo for name in ranked],
            "difference": 0 - table["elpd_diff"].to_numpy(),
            "difference_se": table["dse"].to_numpy(),
            "weight": table["weight"].to_numpy(),
            "n_bad": [results[name].n_bad for name in ranked],
        }
    )


def vote_log_probabilities(
    story: Story, votes: Votes, sites: Sites, gold: Int[np.ndarray, " item"] | None = None
) -> Float[np.ndarray, "draw vote"]:
    """log p(vote | the item's other votes, draw), all chains in turn: what PSIS starts from."""
    return np.asarray(over_draws(_left_out, story, vote_data(votes, gold), flattened(sites)))


def _left_out(key: Array, story: Story, data: VoteData, sites: Sites) -> Float[Array, " vote"]:
    reading = reading_of(story, data, sites)
    evidence = reading.evidence(data)[data.item]
    return logsumexp(evidence, axis=1) - logsumexp(evidence - reading.log_vote, axis=1)


def _smoothed(
    log_probability: Float[np.ndarray, "draw vote"], efficiency: float
) -> tuple[Float[np.ndarray, " vote"], Float[np.ndarray, " vote"], Float[np.ndarray, " vote"]]:
    """elpd, Pareto k and in-sample log predictive probability of every vote."""
    arviz = import_arviz()
    by_vote = log_probability.T.astype(np.float64)
    log_weight, pareto_k = arviz.psislw(-by_vote, efficiency)
    in_sample = _log_sum(by_vote) - np.log(by_vote.shape[1])
    return _log_sum(log_weight + by_vote), np.asarray(pareto_k), in_sample


def _log_sum(rows: Float[np.ndarray, "row entry"]) -> Float[np.ndarray, " row"]:
    """log sum exp of every row."""
    top = rows.max(axis=1, keepdims=True)
    return (top + np.log(np.exp(rows - top).sum(axis=1, keepdims=True)))[:, 0]


def _parts(data: VoteData, n_draws: int) -> list[VoteData]:
    """The items in runs whose votes times draws can be held."""
    n_votes = len(data.item)
    if n_votes * n_draws <= MAX_ENTRIES:
        return [data]
    per_part = max(MAX_ENTRIES // n_draws, 1)
    part_of_item = np.searchsorted(np.asarray(data.item), np.arange(data.n_here)) // per_part
    return [
        items_of(data, np.flatnonzero(part_of_item == part)) for part in np.unique(part_of_item)
    ]
