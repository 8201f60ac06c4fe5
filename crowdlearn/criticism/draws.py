"""Whole draws of a story's posterior, to criticise it by: the quickest sampler that has them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from crowdlearn.aggregation import Draws, OnSweep
from crowdlearn.aggregators.bayes import Bayes
from crowdlearn.aggregators.conjugate import GIBBS, fast_method
from crowdlearn.aggregators.engines import Gibbs, Nuts
from crowdlearn.aggregators.stories import find_story, story_text
from crowdlearn.errors import ConvergenceWarning, StoryError
from crowdlearn.gold import gold_codes
from crowdlearn.inference.gibbs import mixing_problems
from crowdlearn.inference.gibbs_sites import gibbs_sites
from crowdlearn.inference.replicate import Sites
from crowdlearn.inference.target import check_parameters, target_of
from crowdlearn.models.data import vote_data
from crowdlearn.models.reading import Story
from crowdlearn.votes import Votes

SWEEPS_A_DRAW = 4  # of a Gibbs sampler, for each draw kept


@dataclass(frozen=True, eq=False)
class PosteriorDraws:
    """A story with its hyperparameters, and draws of its parameters."""

    story: Story
    sites: Sites  # (chain, draw, ...)
    log_density: Float[np.ndarray, "chain draw"]
    gold: Int[np.ndarray, " item"]  # class codes, -1 where unknown
    problems: tuple[str, ...]  # why the draws may not be of the posterior


def posterior_draws(
    story: Any,
    votes: Votes,
    *,
    parameters: Mapping[str, Any] | None = None,
    gold: Any = None,
    n_chains: int = 4,
    n_warmup: int = 300,
    n_draws: int = 250,
    seed: int = 0,
    on_sweep: OnSweep | None = None,
) -> PosteriorDraws:
    """Draws from the posterior of a story: by Gibbs where a method has it, else by NUTS.

    `story` is a name, a function or "module:function", as in `Bayes`; `on_sweep` watches NUTS.
    Raises SettingsError for an unknown story or hyperparameter, and StoryError for a story that
    does not return what `marginalise` returns.
    """
    function, chosen, known = find_story(story), dict(parameters or {}), gold_codes(votes, gold)
    check_parameters(function, chosen)
    if target_of(function, chosen, vote_data(votes, known)).explicit:
        raise StoryError(
            f"story {story_text(story)!r} draws its truths itself: to be criticised, it must sum "
            "them out and end with `return marginalise(data, log_prior, log_vote)`"
        )
    bound = partial(function, **chosen) if chosen else function  # equal ones share compilation
    if story_text(story) in GIBBS:
        lengths = Gibbs(n_chains=n_chains, n_warmup=n_warmup, n_draws=n_draws * SWEEPS_A_DRAW)
        method = fast_method(story_text(story), chosen, lengths, {"seed": seed})
        sites, log_density = gibbs_sites(method, votes, gold=known, n_kept=n_draws)
        return PosteriorDraws(bound, sites, log_density, known, _problems(sites, log_density))
    engine = Nuts(n_chains=n_chains, n_warmup=n_warmup, n_draws=n_draws)
    method = Bayes(story=function, parameters=chosen, inference=engine, seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # returned as problems
        fit = method.fit(votes, gold=known, on_sweep=on_sweep)
    assert fit.draws is not None
    return PosteriorDraws(bound, fit.draws.sites, fit.draws.log_density, known, fit.warnings)


def _problems(sites: Sites, log_density: Float[np.ndarray, "chain draw"]) -> tuple[str, ...]:
    """Have the chains mixed, as far as log density, class prior and diagonals tell?"""
    diagonal = np.einsum("...kk->...k", sites["confusion"])
    tracked = np.arange(diagonal.shape[2])
    found = mixing_problems(Draws(log_density, sites["prior"], diagonal, tracked))
    return tuple(text.removesuffix(", or resume this fit") for text in found)
