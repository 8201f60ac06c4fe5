"""What an engine returns, and what it says of items and workers, for any story.

The truths are summed out while sampling; their posterior is recovered here exactly, draw by draw,
and averaged without storing items x draws. A worker's confusion matrix is read off the story
itself: every vote is asked how probable each label would have been under each class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from crowdlearn.inference.target import Sites, Target
from crowdlearn.models.data import VoteData

SMOOTHING = 1.0  # Dirichlet count of a row, where confusions are counted (see `_counted`)
SAME = 1e-4  # nats within which two log probabilities are the same


@dataclass(frozen=True, eq=False)
class Samples:
    """Draws of a story's parameters. SVI has one chain, of independent draws from its guide."""

    sites: dict[str, np.ndarray]  # name -> (chain, draw, ...), constrained
    log_density: Float[np.ndarray, "chain draw"]  # as the sampler sees it (nats)
    bound: Float[np.ndarray, " sweep"]  # log density of the first chain, or ELBO, as it went
    diverging: Bool[np.ndarray, "chain draw"]
    n_steps: Int[np.ndarray, "chain draw"]  # leapfrog steps; 0 where there are none
    converged: bool = True  # by the engine's own rule; NUTS is judged by its draws
    stopped: bool = False
    problems: tuple[str, ...] = field(default=())

    @classmethod
    def independent(
        cls,
        sites: dict[str, np.ndarray],
        *,
        bound: Float[np.ndarray, " sweep"],
        converged: bool = True,
        stopped: bool = False,
        problems: tuple[str, ...] = (),
    ) -> Samples:
        """Draws of a variational posterior; `sites` are name -> (draw, ...)."""
        n_draws = len(next(iter(sites.values())))
        return cls(
            sites={name: value[None] for name, value in sites.items()},
            log_density=np.full((1, n_draws), np.nan),
            bound=bound,
            diverging=np.zeros((1, n_draws), dtype=bool),
            n_steps=np.zeros((1, n_draws), dtype=np.int64),
            converged=converged,
            stopped=stopped,
            problems=problems,
        )

    @property
    def n_chains(self) -> int:
        return int(self.log_density.shape[0])

    @property
    def n_draws(self) -> int:
        """Draws of each chain."""
        return int(self.log_density.shape[1])

    def flat(self) -> dict[str, np.ndarray]:
        """All chains one after the other: name -> (chain * draw, ...)."""
        return {n: x.reshape(-1, *x.shape[2:]) for n, x in self.sites.items()}


@dataclass(frozen=True, eq=False)
class Tables:
    """Workers and classes under every draw; states are classes, or subtypes of classes.

    `table[d, w, c, s]` is the probability that worker `w` says `c` in state `s`, averaged over the
    worker's own votes where items differ.
    """

    prior: Float[np.ndarray, "draw state"]
    table: Float[np.ndarray, "draw worker label state"]

    def by_class(self, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
        """Class prior (draw, class) and confusion (draw, worker, truth, label)."""
        n_draws, n_states = self.prior.shape
        states = self.prior.reshape(n_draws, n_classes, -1)
        prior = states.sum(axis=2)
        share = states / np.maximum(prior, 1e-30)[:, :, None]
        table = self.table.reshape(*self.table.shape[:3], n_classes, n_states // n_classes)
        return prior, np.einsum("dwckg,dkg->dwkc", table, share)


def truth_posterior(
    target: Target, sites: dict[str, np.ndarray], data: VoteData
) -> Float[np.ndarray, "chain item class"]:
    """Posterior of every item's class by every chain: the mean over its draws; gold is clamped."""
    chains = range(len(next(iter(sites.values()))))
    latent = target.latent(sites)
    each = [
        _mean_truth(target, {n: jnp.asarray(x[c]) for n, x in latent.items()}, data) for c in chains
    ]
    posterior = np.stack([np.asarray(mean, dtype=np.float64) for mean in each])
    posterior /= posterior.sum(axis=2, keepdims=True)
    gold = np.asarray(data.gold)
    known = np.flatnonzero(gold >= 0)
    posterior[:, known] = np.eye(data.n_classes)[gold[known]]
    return posterior


@partial(jax.jit, static_argnames="target")
def _mean_truth(target: Target, sites: Sites, data: VoteData) -> Float[Array, "item class"]:
    def add(total: Array, draw: Sites) -> tuple[Array, None]:
        return total + target.truth(draw, data), None

    nothing = jnp.zeros((data.n_items, data.n_classes))
    total, _ = jax.lax.scan(add, nothing, sites)
    return total / len(next(iter(sites.values())))


def tables_of(
    target: Target, sites: dict[str, np.ndarray], data: VoteData, key: Array
) -> Iterator[Tables]:
    """`Tables` of flat draws (draw, ...), in chunks of draws that take little memory."""
    read = _reader(target, sites, data)
    n_draws = len(next(iter(sites.values())))
    at_once = max(1 << 22, 1) // max(data.n_workers * data.n_classes**2, 1)
    at_once = min(max(at_once, 1), n_draws)
    keys = jax.random.split(key, n_draws)
    latent = target.latent(sites)
    for first in range(0, n_draws, at_once):
        here = slice(first, first + at_once)
        chunk = {name: jnp.asarray(value[here]) for name, value in latent.items()}
        prior, table = read(target, chunk, keys[here], data)
        yield Tables(np.asarray(prior, np.float64), np.asarray(table, np.float64))


Read = Callable[..., tuple[Array, Array]]
"""(target, draws, keys, data) -> prior (draw, state), table (draw, worker, label, state)."""


def _reader(target: Target, sites: dict[str, np.ndarray], data: VoteData) -> Read:
    """How this story's tables are read: counted, from one probe a worker, or from all votes."""
    if target.explicit:
        return _read_explicit
    if target.item_sites:
        return _read_votes
    first = {name: jnp.asarray(value[0]) for name, value in target.latent(sites).items()}
    return _read_probes if bool(_probes_suffice(target, first, data)) else _read_votes


@partial(jax.jit, static_argnames="target")
def _probes_suffice(target: Target, draw: Sites, data: VoteData) -> Bool[Array, ""]:
    """Does a vote depend on worker and label alone, not on the item or the vote?"""
    _, table = _probe(target, draw, data)
    seen = target.reading(draw, data).log_vote
    expected = jnp.log(jnp.maximum(table, 1e-30))[data.worker, data.label]
    return (jnp.abs(jnp.exp(seen) - jnp.exp(expected)) < SAME).all()


@partial(jax.jit, static_argnames="target")
def _read_probes(
    target: Target, draws: Sites, keys: Array, data: VoteData
) -> tuple[Float[Array, "draw state"], Float[Array, "draw worker label state"]]:
    return jax.lax.map(lambda draw: _probe(target, draw, data), draws)


@partial(jax.jit, static_argnames="target")
def _read_votes(
    target: Target, draws: Sites, keys: Array, data: VoteData
) -> tuple[Float[Array, "draw state"], Float[Array, "draw worker label state"]]:
    return jax.lax.map(lambda draw: _over_votes(target, draw, data), draws)


@partial(jax.jit, static_argnames="target")
def _read_explicit(
    target: Target, draws: Sites, keys: Array, data: VoteData
) -> tuple[Float[Array, "draw class"], Float[Array, "draw worker label class"]]:
    return jax.lax.map(lambda pair: _counted(target, pair[0], pair[1], data), (draws, keys))


def _probe(
    target: Target, draw: Sites, data: VoteData
) -> tuple[Float[Array, " state"], Float[Array, "worker label state"]]:
    """State prior, and what one made-up vote of every worker on the first item says."""
    n_workers = data.n_workers
    probe = replace(
        data,
        item=jnp.zeros(n_workers, jnp.int32),
        worker=jnp.arange(n_workers, dtype=jnp.int32),
        label=jnp.zeros(n_workers, jnp.int32),
        weight=jnp.ones(n_workers),
        index=jnp.zeros(1, jnp.int32),
        gold=jnp.full(1, -1, jnp.int32),
    )
    reading = target.reading(draw, probe)
    return _state_prior(reading.log_prior), _by_label(target, draw, probe).transpose(1, 0, 2)


def _over_votes(
    target: Target, draw: Sites, data: VoteData
) -> tuple[Float[Array, " state"], Float[Array, "worker label state"]]:
    """State prior, and what the votes say on average; a worker without votes is as all are."""
    free = replace(data, gold=jnp.full_like(data.gold, -1))
    each = _by_label(target, draw, free)  # (label, vote, state)
    sums = jnp.stack([jax.ops.segment_sum(x, data.worker, data.n_workers) for x in each], axis=1)
    n = jnp.bincount(data.worker, length=data.n_workers)[:, None, None]
    table = jnp.where(n > 0, sums / jnp.maximum(n, 1), each.mean(axis=1))
    return _state_prior(target.reading(draw, free).log_prior), table


def _by_label(target: Target, draw: Sites, data: VoteData) -> Float[Array, "label vote state"]:
    """Probability of every label for every vote, under each state of its item."""

    def told(label: Array) -> Array:
        asked = replace(data, label=jnp.full_like(data.label, label))
        return jnp.exp(target.reading(draw, asked).log_vote)

    return jax.lax.map(told, jnp.arange(data.n_classes))


def _state_prior(log_prior: Float[Array, "item state"]) -> Float[Array, " state"]:
    prior = jax.nn.softmax(log_prior, axis=1).mean(axis=0)
    return prior / prior.sum()


def _counted(
    target: Target, draw: Sites, key: Array, data: VoteData
) -> tuple[Float[Array, " class"], Float[Array, "worker label class"]]:
    """Prior and confusions of a story with explicit truths.

    From its sites "prior" and "confusion" where these have the shapes (class,) and
    (worker, class, class) or (class, class). Else confusion rows are drawn from the Dirichlets of
    the votes counted under the draw's posterior of the truths, `SMOOTHING` shared by a row.
    """
    n_workers, n_classes = data.n_workers, data.n_classes
    truth = target.truth(draw, data)
    prior = draw["prior"] if _shape(draw, "prior") == (n_classes,) else truth.mean(axis=0)
    if _shape(draw, "confusion")[-2:] == (n_classes, n_classes):
        told = draw["confusion"].swapaxes(-1, -2)
        return prior, jnp.broadcast_to(told, (n_workers, n_classes, n_classes))
    cell = data.worker * n_classes + data.label
    counts = jax.ops.segment_sum(truth[data.item], cell, n_workers * n_classes)
    alpha = counts.reshape(n_workers, n_classes, n_classes) + SMOOTHING / n_classes
    return prior, jax.random.dirichlet(key, alpha.swapaxes(1, 2)).swapaxes(1, 2)


def _shape(draw: Sites, name: str) -> tuple[int, ...]:
    return tuple(draw[name].shape) if name in draw else ()


def difficulty_of(sites: dict[str, np.ndarray], n_items: int) -> Float[np.ndarray, " item"] | None:
    """Difficulty of every item in [0, 1], where the story has a site that says it.

    Sites called `easiness` or `difficulty` in [0, 1] are taken as they are; `log_easiness` (GLAD)
    becomes 1 / (1 + easiness). The mean over all draws; None where there is no such site.
    """
    maps: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "easiness": lambda x: 1 - x,
        "difficulty": lambda x: x,
        "log_easiness": lambda x: 1 / (1 + np.exp(x)),
    }
    for name, to_difficulty in maps.items():
        if name in sites and sites[name].shape[2:] == (n_items,):
            found: Any = to_difficulty(sites[name].astype(np.float64))
            inside = found.min() >= 0 and found.max() <= 1
            return found.mean(axis=(0, 1)) if inside else None
    return None
