"""From a story's draws to what a fit returns: posteriors, confusions, intervals, diagnoses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from crowdlearn.aggregation import Draws, History, Interval
from crowdlearn.aggregators.engines import Nuts, Svi, SviPyro
from crowdlearn.errors import SettingsError
from crowdlearn.inference.diagnostics import diagnose
from crowdlearn.inference.gibbs import DRAW_ENTRIES, ENOUGH_ESS, ENOUGH_RHAT, tracked_workers
from crowdlearn.inference.posterior import (
    Samples,
    Tables,
    difficulty_of,
    tables_of,
    truth_posterior,
)
from crowdlearn.inference.target import Target
from crowdlearn.models.data import VoteData
from crowdlearn.predictors import DrawsPredictor, Predictor, ProductPredictor
from crowdlearn.votes import Votes

PREDICTOR_ENTRIES = 1 << 22  # numbers that a predictor of draws may hold
PREDICTOR_DRAWS = 50
ENOUGH_DRAWS = 10  # below, a predictor takes the posterior means
LEVEL = 0.9
SATURATED = 0.05  # share of trajectories that may reach the tree's full depth


@dataclass(frozen=True, eq=False)
class Summary:
    """What `conclude` asks for."""

    posterior: Float[np.ndarray, "item class"]
    prior: Float[np.ndarray, " class"]
    confusion: Float[np.ndarray, "worker class class"]
    accuracy: Interval
    history: History
    predictor: Predictor
    difficulty: Float[np.ndarray, " item"] | None
    draws: Draws
    problems: tuple[str, ...]


def summarised(
    engine: Nuts | Svi | SviPyro,
    target: Target,
    samples: Samples,
    votes: Votes,
    data: VoteData,
    seed: int,
) -> Summary:
    """Every number of the result, from the draws of the story's parameters."""
    n_draws = samples.n_chains * samples.n_draws
    tracked = tracked_workers(votes, n_draws)
    rows = _Rows(tracked)
    kept = set(_spread(n_draws, _predictor_draws(target, votes)).tolist())
    number = 0
    for tables in tables_of(target, samples.flat(), data, seed_key(seed + 1)):
        rows.add(tables, votes.n_classes)
        here = [i for i in range(len(tables.prior)) if number + i in kept]
        rows.keep(tables, here)
        number += len(tables.prior)
    draws = rows.draws(samples)
    problems = (*samples.problems, *_problems(engine, samples, draws))
    return Summary(
        posterior=truth_posterior(target, samples.sites, data).mean(axis=0),
        prior=rows.mean_prior(),
        confusion=rows.confusion / number,
        accuracy=_interval(np.concatenate(rows.accuracy)),
        history=History(
            bound=samples.bound,
            change=np.full(len(samples.bound), np.nan),
            bound_name="log density" if isinstance(engine, Nuts) else "evidence lower bound",
            converged=samples.converged and not problems,
            stopped=samples.stopped,
        ),
        predictor=rows.predictor(votes.n_classes, number),
        difficulty=difficulty_of(samples.sites, votes.n_items),
        draws=draws,
        problems=problems,
    )


def run_pyro(story: str, votes: Votes, known: np.ndarray, **settings: Any) -> Samples:
    """SVI of the story's twin. Raises SettingsError where it has none."""
    from crowdlearn.inference import svi_pyro
    from crowdlearn.models_pyro import STORIES

    if story not in STORIES:
        raise SettingsError(
            f"story {story!r} has no twin in Pyro: these have: {', '.join(STORIES)}"
        )
    return svi_pyro.run(STORIES[story], votes, known, **settings)


def seed_key(seed: int) -> Array:
    """A key of JAX for any seed."""
    return jax.random.key(int(np.random.SeedSequence(seed).generate_state(1)[0]))


class _Rows:
    """Sums and columns over the draws, chunk by chunk."""

    def __init__(self, tracked: np.ndarray) -> None:
        self.tracked = tracked
        self.prior: list[np.ndarray] = []
        self.accuracy: list[np.ndarray] = []
        self.diagonal: list[np.ndarray] = []
        self.confusion: Any = 0.0
        self.kept: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, tables: Tables, n_classes: int) -> None:
        prior, confusion = tables.by_class(n_classes)
        diagonal = np.einsum("dwkk->dwk", confusion)
        self.prior.append(prior)
        self.accuracy.append(np.einsum("dwk,dk->dw", diagonal, prior))
        self.diagonal.append(diagonal[:, self.tracked].astype(np.float32))
        self.confusion = self.confusion + confusion.sum(axis=0)

    def keep(self, tables: Tables, which: list[int]) -> None:
        self.kept += [(tables.prior[i], tables.table[i]) for i in which]

    def mean_prior(self) -> np.ndarray:
        prior = np.concatenate(self.prior).mean(axis=0)
        return prior / prior.sum()

    def draws(self, samples: Samples) -> Draws:
        shape = (samples.n_chains, samples.n_draws)
        prior, diagonal = np.concatenate(self.prior), np.concatenate(self.diagonal)
        return Draws(
            log_density=samples.log_density,
            prior=prior.reshape(*shape, -1),
            diagonal=diagonal.reshape(*shape, *diagonal.shape[1:]),
            tracked=self.tracked,
            sites=_that_fit(samples.sites),
            stats={"diverging": samples.diverging, "n_steps": samples.n_steps},
        )

    def predictor(self, n_classes: int, n_draws: int) -> Predictor:
        if not self.kept:
            likelihood = (self.confusion / n_draws).swapaxes(1, 2)
            return ProductPredictor(self.mean_prior(), likelihood, np.arange(n_classes))
        prior, table = (np.stack(each) for each in zip(*self.kept, strict=True))
        state_class = np.repeat(np.arange(n_classes), prior.shape[1] // n_classes)
        return DrawsPredictor(prior, table, state_class)


def _predictor_draws(target: Target, votes: Votes) -> int:
    """Draws that a predictor can hold, or 0 where the posterior means must do."""
    n_states = dict(target.parameters).get("n_subtypes", 3 if "share" in target.sites else 1)
    size = votes.n_workers * votes.n_classes**2 * n_states
    fit = min(PREDICTOR_ENTRIES // max(size, 1), PREDICTOR_DRAWS)
    return int(fit) if fit >= ENOUGH_DRAWS else 0


def _spread(n_draws: int, n_kept: int) -> np.ndarray:
    """Positions of `n_kept` draws, evenly among all."""
    if n_kept == 0:
        return np.zeros(0, dtype=np.int64)
    return np.unique(np.linspace(0, n_draws - 1, n_kept).round().astype(np.int64))


def _interval(accuracy: Float[np.ndarray, "draw worker"]) -> Interval:
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(accuracy, [tail, 1 - tail], axis=0)
    mean = np.clip(accuracy.mean(axis=0), 0, 1)
    low, high = np.minimum(low, mean), np.maximum(high, mean)
    return Interval(mean=mean, low=low.clip(0, 1), high=high.clip(0, 1), level=LEVEL)


def _that_fit(sites: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The sites to keep: the small ones first, as many as 64 MB hold."""
    kept: dict[str, np.ndarray] = {}
    free = DRAW_ENTRIES
    for name in sorted(sites, key=lambda n: sites[n].size):
        free -= sites[name].size
        if free < 0:
            break
        kept[name] = sites[name].astype(np.float32)
    return kept


def _problems(engine: Any, samples: Samples, draws: Draws) -> tuple[str, ...]:
    """What is wrong with the chains of NUTS, in words that say what would do."""
    if samples.stopped or not isinstance(engine, Nuts):
        return _no_width(engine)
    return (*_unmixed(draws), *_divergent(samples, engine), *_cut_short(samples, engine))


def _no_width(engine: Any) -> tuple[str, ...]:
    if isinstance(engine, Svi) and engine.guide == "delta":
        return ("the guide 'delta' is a single point: intervals have no width; use 'normal'",)
    return ()


def _unmixed(draws: Draws) -> tuple[str, ...]:
    shape = draws.log_density.shape
    columns = (draws.log_density[..., None], draws.prior, draws.diagonal.reshape(*shape, -1))
    rhats, *sizes = diagnose(np.concatenate(columns, axis=2).astype(np.float64))
    worst, least = float(np.max(rhats)), float(np.min(sizes))
    if np.isnan(worst):
        return (
            f"{shape[1]} draws a chain are too few to tell whether the chains mixed: at least 4",
        )
    found = []
    if worst > ENOUGH_RHAT:
        found.append(
            f"chains disagree (largest R-hat {worst:.3f}, wanted below {ENOUGH_RHAT}): raise "
            "n_warmup and n_draws"
        )
    if least < ENOUGH_ESS * shape[0]:
        found.append(
            f"few independent draws (smallest effective sample size {least:.0f}, wanted "
            f"{ENOUGH_ESS * shape[0]}): raise n_draws"
        )
    return tuple(found)


def _divergent(samples: Samples, engine: Nuts) -> tuple[str, ...]:
    n = int(samples.diverging.sum())
    if n == 0:
        return ()
    return (
        f"{n:,} of {samples.diverging.size:,} transitions diverged: parts of the posterior may not "
        f"have been reached; raise target_accept (now {engine.target_accept}) towards 0.99",
    )


def _cut_short(samples: Samples, engine: Nuts) -> tuple[str, ...]:
    share = float((samples.n_steps >= 2**engine.max_tree_depth - 1).mean())
    if share <= SATURATED:
        return ()
    return (
        f"{share:.0%} of the trajectories were cut at max_tree_depth {engine.max_tree_depth}: "
        "draws are slow but valid; raise max_tree_depth or n_warmup",
    )
