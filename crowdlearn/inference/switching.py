"""Label switching: draws whose classes bear each other's names, found and undone.

Where a story does not know its classes apart, permuting them leaves its density as it is, and a
chain may wander from one naming to another. Every draw's truths are then matched to the vote
shares, and its sites permuted accordingly. Which axes of which sites are classes is not asked but
tried: a permutation counts only if it moves the posterior of the truths as it should and leaves the
density unchanged. A story that does know its classes apart has no such permutation; chains that
disagree about the names are then in different modes, and are reported.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.optimize import linear_sum_assignment

from crowdlearn.inference.posterior import Samples
from crowdlearn.inference.target import Sites, Target
from crowdlearn.models.data import VoteData

CLEARLY = 0.02  # of the items' probability that another naming must explain better
MAX_CHOICES = 2000  # of axes that are tried

Axes = dict[str, int]
"""Site name -> the axis, counted from the end, that is the truth's class."""


def undo_switching(
    target: Target, samples: Samples, data: VoteData, shares: Float[np.ndarray, "item class"]
) -> tuple[Samples, tuple[str, ...]]:
    """The draws under one naming of the classes, and what a user should know, in words."""
    overlap = overlaps(target, samples.sites, data, shares)
    orders = np.stack([[best_order(table) for table in chain] for chain in overlap])
    moved = (orders != np.arange(data.n_classes)).any(axis=2)
    if not moved.any():
        return samples, ()
    axes = class_axes(target, samples.sites, orders, moved, data)
    if axes is None:
        return samples, _disagreeing(overlap)
    sites = _permuted_draws(target, samples.sites, orders, axes, data)
    return replace(samples, sites=sites), ()


def overlaps(
    target: Target,
    sites: dict[str, np.ndarray],
    data: VoteData,
    shares: Float[np.ndarray, "item class"],
) -> Float[np.ndarray, "chain draw class class"]:
    """Share of the items that a draw puts in class k and the votes in class c: [k, c]."""
    latent = {name: jnp.asarray(value) for name, value in target.latent(sites).items()}
    weights = jnp.asarray(shares / len(shares), jnp.float32)
    return np.asarray(_overlaps(target, latent, data, weights), dtype=np.float64)


@partial(jax.jit, static_argnames="target")
def _overlaps(
    target: Target, sites: Sites, data: VoteData, weights: Float[Array, "item class"]
) -> Float[Array, "chain draw class class"]:
    one = lambda draw: target.truth(draw, data).T @ weights  # noqa: E731
    return jax.lax.map(lambda chain: jax.lax.map(one, chain), sites)


def best_order(overlap: Float[np.ndarray, "class class"]) -> Int[np.ndarray, " class"]:
    """`order[c]` is the draw's class that the votes call c; the identity unless clearly not."""
    found, called = linear_sum_assignment(-overlap)
    if overlap[found, called].sum() - np.trace(overlap) < CLEARLY:
        return np.arange(len(overlap))
    return np.argsort(called)


def class_axes(
    target: Target,
    sites: dict[str, np.ndarray],
    orders: Int[np.ndarray, "chain draw class"],
    moved: Any,
    data: VoteData,
) -> Axes | None:
    """The axes to permute, tried on one draw of each order that occurs; None where none fit."""
    at = np.argwhere(moved)
    _, first = np.unique(orders[moved], axis=0, return_index=True)
    tries = [(orders[tuple(at[i])], _draw(target, sites, at[i])) for i in first[:5]]
    choices = [_choices(name, axes, tries[0][1], data.n_classes) for name, axes in target.free_axes]
    for choice in itertools.islice(itertools.product(*choices), MAX_CHOICES):
        axes = {name: axis for name, axis in choice if axis is not None}
        if axes and all(_is_renaming(target, draw, order, axes, data) for order, draw in tries):
            return axes
    return None


def _choices(
    name: str, axes: tuple[int, ...], draw: Sites, n_classes: int
) -> list[tuple[str, int | None]]:
    fits = [axis for axis in axes if draw[name].shape[axis] == n_classes]
    return [*((name, axis) for axis in fits), (name, None)]


def _is_renaming(
    target: Target, draw: Sites, order: Int[np.ndarray, " class"], axes: Axes, data: VoteData
) -> bool:
    """Does permuting these axes move the truths by `order`, and leave the density as it was?"""
    renamed = _permuted(draw, order, axes)
    (before, density), (after, density_after) = (_judge(target, d, data) for d in (draw, renamed))
    same_truth = np.allclose(np.asarray(before)[:, order], after, atol=1e-3)
    return bool(same_truth and np.isclose(density, density_after, rtol=1e-5, atol=1e-2))


@partial(jax.jit, static_argnames="target")
def _judge(
    target: Target, draw: Sites, data: VoteData
) -> tuple[Float[Array, "item class"], Float[Array, ""]]:
    return target.truth(draw, data), target.density(draw, data)


def _permuted(draw: Sites, order: Int[np.ndarray, " class"], axes: Axes) -> Sites:
    return {n: np.take(x, order, axis=axes[n]) if n in axes else x for n, x in draw.items()}


def _draw(target: Target, sites: dict[str, np.ndarray], at: Int[np.ndarray, " 2"]) -> Sites:
    return {name: value[at[0], at[1]] for name, value in target.latent(sites).items()}


def _permuted_draws(
    target: Target,
    sites: dict[str, np.ndarray],
    orders: Int[np.ndarray, "chain draw class"],
    axes: Axes,
    data: VoteData,
) -> dict[str, np.ndarray]:
    """All sites, the computed ones computed again."""
    renamed = {name: value.copy() for name, value in target.latent(sites).items()}
    for chain, draw in np.argwhere((orders != np.arange(data.n_classes)).any(axis=2)):
        for name, axis in axes.items():
            here = renamed[name][chain, draw]
            renamed[name][chain, draw] = np.take(here, orders[chain, draw], axis=axis)
    if len(renamed) == len(sites):
        return renamed
    return {n: np.asarray(x) for n, x in _completed(target, renamed, data).items()}


@partial(jax.jit, static_argnames="target")
def _completed(target: Target, sites: Sites, data: VoteData) -> Sites:
    one = lambda draw: target.completed(draw, data)  # noqa: E731
    return jax.lax.map(lambda chain: jax.lax.map(one, chain), sites)


def _disagreeing(overlap: Float[np.ndarray, "chain draw class class"]) -> tuple[str, ...]:
    """Chains that name the classes in another way than the votes, where others do not."""
    orders = np.array([best_order(table) for table in overlap.mean(axis=1)])
    odd = [c for c, order in enumerate(orders) if (order != np.arange(len(order))).any()]
    if not odd or (len(odd) == len(orders) and (orders == orders[0]).all()):
        return ()
    which = ", ".join(str(c) for c in odd)
    return (
        f"chains {which} ended with classes swapped, and this story does not hold all namings "
        "equally probable, so that cannot be undone: give gold answers for a few items, or take a "
        "story whose prior expects workers to be right (bcc, hierarchical-dawid-skene)",
    )
