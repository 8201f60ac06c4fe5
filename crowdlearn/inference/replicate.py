"""Votes drawn anew from a story: what it says would be seen, before any data or after a fit.

A story says what the votes at hand are worth. Asked once for every class, with all labels set to
that class, it says how probable each label was; from this, truths and labels are drawn. `Sites` are
a story's parameters: site name -> array; for many draws, with the draws in the first axis.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpyro import handlers

from crowdlearn.errors import SettingsError
from crowdlearn.models.data import VoteData
from crowdlearn.models.reading import Reading, Story

Sites = dict[str, Any]
DRAWS_AT_ONCE = 16  # draws that are worked on together, in `over_draws`

OfDraw = Callable[[Array, Story, VoteData, Sites], Any]
"""Something told of one draw of the parameters; the key is for what it draws itself."""


class Chances(NamedTuple):
    """How probable everything is under one draw of the parameters. State as in `Reading`."""

    prior: Float[Array, "item state"]  # of each item's state before its votes; rows sum to one
    label: Float[Array, "vote state class"]  # of each label of each vote; rows sum to one


def reading_of(story: Story, data: VoteData, sites: Sites) -> Reading:
    """What the story says of the votes under these parameters."""
    with handlers.substitute(data={name: jnp.asarray(v) for name, v in sites.items()}):
        return story(data)


def chances_of(story: Story, data: VoteData, sites: Sites) -> Chances:
    """Probability of every label of every vote, under these parameters."""
    reading = reading_of(story, data, sites)

    def if_all_said(label: Int[Array, ""]) -> Float[Array, "vote state"]:
        return reading_of(story, replace(data, label=jnp.full_like(data.label, label)), sites)[1]

    each = jax.vmap(if_all_said, out_axes=2)(jnp.arange(data.n_classes))
    return Chances(jax.nn.softmax(reading.log_prior, axis=1), jax.nn.softmax(each, axis=2))


def prior_sites(key: Array, story: Story, data: VoteData) -> Sites:
    """One draw of the story's parameters from their prior. The labels of `data` play no part."""
    trace = handlers.trace(handlers.seed(story, key)).get_trace(data)
    return {
        name: site["value"]
        for name, site in trace.items()
        if site["type"] == "sample" and not site["is_observed"]
    }


def draw_again(
    key: Array, story: Story, data: VoteData, sites: Sites
) -> tuple[Int[Array, " item"], Int[Array, " vote"]]:
    """Truth and labels if the same workers judged the same items again: truth given its votes."""
    evidence = reading_of(story, data, sites).evidence(data)
    return draw_votes(key, data, evidence, chances_of(story, data, sites))


def draw_votes(
    key: Array, data: VoteData, log_state: Float[Array, "item state"], chances: Chances
) -> tuple[Int[Array, " item"], Int[Array, " vote"]]:
    """Truth and labels, every item's state drawn from `log_state` (need not be normalised)."""
    for_truth, for_label = jax.random.split(key)
    state = jax.random.categorical(for_truth, log_state, axis=1)
    rows = chances.label[jnp.arange(len(data.item)), state[data.item]]
    label = jax.random.categorical(for_label, jnp.log(rows), axis=1)
    return state // (log_state.shape[1] // data.n_classes), label


def right_of(data: VoteData, chances: Chances) -> Float[Array, " vote"]:
    """Chance that each vote says its item's class, before any vote is known."""
    states = jnp.arange(chances.prior.shape[1])
    right = chances.label[:, states, states // (len(states) // data.n_classes)]
    return (chances.prior[data.item] * right).sum(axis=1)


class Drawn(NamedTuple):
    """One world from the story's prior."""

    sites: Sites  # its parameters
    truth: Int[Array, " item"]
    label: Int[Array, " vote"]
    right: Float[Array, " vote"]  # chance that each vote is right, before truths were drawn


def draw_world(key: Array, story: Story, data: VoteData, nothing: Sites) -> Drawn:
    """Parameters, truths and labels from the prior. The labels of `data` play no part."""
    for_sites, for_votes = jax.random.split(key)
    sites = prior_sites(for_sites, story, data)
    chances = chances_of(story, data, sites)
    truth, label = draw_votes(for_votes, data, jnp.log(chances.prior), chances)
    return Drawn(sites, truth, label, right_of(data, chances))


class Worlds(NamedTuple):
    """Worlds from the story's prior; fields as in `Drawn`."""

    sites: dict[str, np.ndarray]  # name -> (world, ...)
    truth: Int[np.ndarray, "world item"]
    label: Int[np.ndarray, "world vote"]
    right: Float[np.ndarray, "world vote"]


def draw_worlds(story: Story, data: VoteData, n_worlds: int, seed: int) -> Worlds:
    """`draw_world`, `n_worlds` times."""
    return Worlds(*over_draws(draw_world, story, data, {"": np.zeros(n_worlds)}, seed))


def over_draws(function: OfDraw, story: Story, data: VoteData, sites: Sites, seed: int = 0) -> Any:
    """`function(key, story, data, sites of one draw)` of every draw, stacked, as NumPy arrays.

    Compiled once for a function, a story and the sizes. Raises SettingsError where the sites hold
    different numbers of draws.
    """
    sizes = {name: len(value) for name, value in sites.items()}
    if len(set(sizes.values())) != 1:
        raise SettingsError(f"sites hold different numbers of draws, or there are none: {sizes}")
    n_draws = next(iter(sizes.values()))
    filled = np.minimum(np.arange(-(-n_draws // DRAWS_AT_ONCE) * DRAWS_AT_ONCE), n_draws - 1)
    keys = jax.random.split(jax.random.key(seed), len(filled))
    found = _compiled(function, story)(
        keys, data, {k: np.asarray(v)[filled] for k, v in sites.items()}
    )
    return jax.tree.map(lambda entry: np.asarray(entry)[:n_draws], found)


def flattened(sites: Sites) -> Sites:
    """Sites of (chain, draw, ...) as (draw, ...), chain after chain."""
    return {name: np.asarray(v).reshape(-1, *np.shape(v)[2:]) for name, v in sites.items()}


@lru_cache(maxsize=32)
def _compiled(function: OfDraw, story: Story) -> Any:
    def run(keys: Array, data: VoteData, sites: Sites) -> Any:
        def one(pair: tuple[Array, Sites]) -> Any:
            return function(pair[0], story, data, pair[1])

        return jax.lax.map(one, (keys, sites), batch_size=DRAWS_AT_ONCE)

    return jax.jit(run)
