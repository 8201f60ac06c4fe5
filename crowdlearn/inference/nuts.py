"""The No-U-Turn sampler on a story's parameters, its truths summed out.

Hoffman and Gelman (2014), JMLR 15, as NumPyro has it. All chains take one transition at a time, so
a run can be watched and stopped. Votes are arguments of the compiled step: fits of equal shapes
share its compilation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.infer.hmc import hmc

from crowdlearn.aggregation import OnSweep, Sweep
from crowdlearn.inference.anchoring import anchored_start, tilt_to
from crowdlearn.inference.posterior import Samples
from crowdlearn.inference.target import Sites, Target
from crowdlearn.models.data import VoteData
from crowdlearn.sweeps.pool import Pool

JITTER = 0.3  # sd of the chains' starts around the anchored point, unconstrained


def run_nuts(
    target: Target,
    data: VoteData,
    shares: Float[np.ndarray, "item class"],
    key: Array,
    *,
    n_chains: int = 4,
    n_warmup: int = 500,
    n_draws: int = 500,
    target_accept: float = 0.8,
    max_tree_depth: int = 10,
    chain_method: str = "vectorized",
    n_threads: int = 1,
    on_sweep: OnSweep | None = None,
) -> Samples:
    """Draws of the story's parameters, chains started near the vote shares.

    `chain_method` is "vectorized" (all chains in one step, which waits for the longest
    trajectory), "sequential", or "parallel" (chains on threads). A sweep is one transition of every
    chain; stopped in the warm-up, a run keeps one draw.
    """
    start_key, jitter_key, chain_key = jax.random.split(key, 3)
    point = anchored_point(target, data, shares, start_key)
    keys = jax.random.split(chain_key, n_chains)
    starts = jax.vmap(partial(_jittered, point))(jax.random.split(jitter_key, n_chains))
    programs = _programs(target, n_warmup, float(target_accept), max_tree_depth)
    pace = _vectorized if chain_method == "vectorized" else _one_by_one
    pool = Pool(n_threads if chain_method == "parallel" else 1)
    states, step = pace(programs, starts, keys, data, n_chains, pool)
    kept: list[Any] = []
    bound: list[Any] = []
    stopped = False
    for number in range(n_warmup + n_draws):
        states, seen = step(states)
        bound.append(-seen[1][0])
        if on_sweep is not None:
            at = Sweep(number + 1, n_warmup + n_draws, math.nan, float(bound[-1]))
            stopped = bool(on_sweep(at))
        if number >= n_warmup or stopped:
            kept.append(seen)
        if stopped:
            break
    return _samples(target, kept, bound, stopped, data)


def anchored_point(
    target: Target, data: VoteData, shares: Float[np.ndarray, "item class"], key: Array
) -> Sites:
    """The anchored start on all votes at once."""
    whole = jax.tree.map(lambda x: x[None], data)
    return anchored_start(target, key, whole, tilt_to(shares), target.start(key, data))


def _jittered(point: Sites, key: Array) -> Sites:
    names = list(point)
    keys = dict(zip(names, jax.random.split(key, len(names)), strict=True))
    return {n: x + JITTER * jax.random.normal(keys[n], x.shape, x.dtype) for n, x in point.items()}


@lru_cache(maxsize=32)
def _programs(
    target: Target, n_warmup: int, target_accept: float, max_tree_depth: int
) -> tuple[Callable[..., Any], ...]:
    """Start and step of one chain and of all chains, compiled once for each shape of the votes."""
    begin, move = hmc(
        potential_fn_gen=lambda data: lambda z: -target.log_joint(z, data), algo="NUTS"
    )

    def start(z: Sites, key: Array, data: VoteData) -> Any:
        return begin(
            z,
            n_warmup,
            target_accept_prob=target_accept,
            max_tree_depth=max_tree_depth,
            model_args=(data,),
            rng_key=key,
        )

    def step(state: Any, data: VoteData) -> tuple[Any, tuple[Any, ...]]:
        after = move(state, (data,))
        return after, (after.z, after.potential_energy, after.diverging, after.num_steps)

    return (
        jax.jit(start),
        jax.jit(step),
        jax.jit(jax.vmap(start, in_axes=(0, 0, None))),
        jax.jit(jax.vmap(step, in_axes=(0, None))),
    )


def _vectorized(
    programs: Any, starts: Sites, keys: Array, data: VoteData, n_chains: int, pool: Pool
) -> tuple[Any, Callable[[Any], Any]]:
    states = programs[2](starts, keys, data)
    return states, lambda states: programs[3](states, data)


def _one_by_one(
    programs: Any, starts: Sites, keys: Array, data: VoteData, n_chains: int, pool: Pool
) -> tuple[Any, Callable[[Any], Any]]:
    each = [jax.tree.map(lambda x, c=c: x[c], starts) for c in range(n_chains)]
    states = [programs[0](start, keys[c], data) for c, start in enumerate(each)]

    def one(state: Any) -> Any:
        return jax.block_until_ready(programs[1](state, data))

    def step(states: list[Any]) -> tuple[list[Any], Any]:
        done = pool.run(one, [(state,) for state in states])
        return [state for state, _ in done], jax.tree.map(
            lambda *x: jnp.stack(x), *[s for _, s in done]
        )

    return states, step


def _samples(
    target: Target, kept: list[Any], bound: list[Any], stopped: bool, data: VoteData
) -> Samples:
    z, energy, diverging, n_steps = jax.tree.map(lambda *x: np.stack(x, axis=1), *kept)
    constrained = [
        _constrained(target, {n: x[c] for n, x in z.items()}, data) for c in range(len(energy))
    ]
    return Samples(
        sites={n: np.stack([np.asarray(c[n]) for c in constrained]) for n in constrained[0]},
        log_density=-np.asarray(energy, np.float64),
        bound=np.array([float(value) for value in bound]),
        diverging=np.asarray(diverging, bool),
        n_steps=np.asarray(n_steps, np.int64),
        converged=not stopped,
        stopped=stopped,
    )


@partial(jax.jit, static_argnames="target")
def _constrained(target: Target, z: Sites, data: VoteData) -> Sites:
    return jax.lax.map(lambda point: target.constrain(point, data), z)
