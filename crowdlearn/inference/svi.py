"""Stochastic variational inference: a Normal on a story's unconstrained parameters, fitted by Adam.

Hoffman, Blei, Wang and Paisley (2013), JMLR 14; reparameterised gradients as in Kucukelbir et al.
(2017), JMLR 18. The truths are summed out exactly, so only the parameters are approximated. A step
takes one draw from the guide and one batch of items; an epoch is one compiled loop. The step size
is constant for the first 60 % of the steps and then falls to a hundredth, along a cosine.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from crowdlearn.aggregation import OnSweep, Sweep
from crowdlearn.errors import SettingsError
from crowdlearn.inference.anchoring import anchored_start, tilt_to
from crowdlearn.inference.guides import GUIDES
from crowdlearn.inference.posterior import Samples
from crowdlearn.inference.target import Sites, Target
from crowdlearn.models.data import VoteData

STEPS_A_BLOCK = 10  # where an epoch is a single step
FLAT = 0.6  # part of the steps that are taken at the full step size
STILL_RISING = 1e-3  # nats an item that the bound may yet gain
MOST_CORRELATED = 5000  # parameters that a multivariate guide may have


def run_svi(
    target: Target,
    data: VoteData,
    batches: VoteData,
    shares: Float[np.ndarray, "item class"],
    key: Array,
    *,
    guide: str = "normal",
    n_steps: int = 2000,
    learning_rate: float = 0.05,
    n_draws: int = 500,
    on_sweep: OnSweep | None = None,
) -> Samples:
    """Draws from the fitted guide; `bound` is the mean evidence lower bound of every block.

    A block is an epoch over `batches` (see `stacked_batches`), or 10 steps where one batch holds
    all. Raises SettingsError where the guide does not suit the story.
    """
    _check(target, batches)
    start_key, anchor_key, step_key, draw_key = jax.random.split(key, 4)
    first = target.start(start_key, data)
    if guide == "multivariate":
        _check_size(first)
    point = anchored_start(target, anchor_key, batches, tilt_to(shares), first)
    n_batches = batches.index.shape[0]
    in_block = n_batches if n_batches > 1 else min(STEPS_A_BLOCK, n_steps)
    n_blocks = max(n_steps // in_block, 1)
    program = partial(_block, target, guide, float(learning_rate), n_blocks * in_block)
    n_parameters = sum(x.size for x in point.values())
    state = _first_state(guide, float(learning_rate), n_blocks * in_block, point)
    bound: list[float] = []
    stopped = False
    block_keys = jax.random.split(step_key, n_blocks)
    for number in range(1, n_blocks + 1):
        order_key, noise_key = jax.random.split(block_keys[number - 1])
        turns = jnp.resize(jax.random.permutation(order_key, n_batches), (in_block,))
        noise = _noise(noise_key, (in_block, GUIDES[guide].n_noise(n_parameters)))
        state, elbo = program(state, point, batches, (turns, noise))
        bound.append(float(elbo))
        if on_sweep is not None:
            stopped = bool(on_sweep(Sweep(number, n_blocks, math.nan, bound[-1])))
        if stopped:
            break
    sites, log_density = _draws(target, guide, n_draws, state[0], point, draw_key, data)
    problems = () if stopped else _problems(bound, data.n_items)
    return Samples(
        sites={name: np.asarray(value)[None] for name, value in sites.items()},
        log_density=np.asarray(log_density, np.float64)[None],
        bound=np.array(bound),
        diverging=np.zeros((1, n_draws), dtype=bool),
        n_steps=np.zeros((1, n_draws), dtype=np.int64),
        converged=not (stopped or problems),
        stopped=stopped,
        problems=problems,
    )


def _check(target: Target, batches: VoteData) -> None:
    if target.explicit and batches.index.shape[0] > 1:
        raise SettingsError(
            "batch_items must be 0 for a story with an explicit site 'truth': end the story with "
            "marginalise to fit it in batches"
        )


def _check_size(point: Sites) -> None:
    n = sum(x.size for x in point.values())
    if n > MOST_CORRELATED:
        raise SettingsError(
            f"guide 'multivariate' would need {n:,} x {n:,} numbers for this story: choose "
            "'lowrank' or 'normal'"
        )


@partial(jax.jit, static_argnums=1)
def _noise(key: Array, shape: tuple[int, int]) -> Float[Array, "step noise"]:
    """Standard normal numbers, apart from the steps: XLA draws them 8 times faster so."""
    return jax.random.normal(key, shape)


def _adam(learning_rate: float, n_steps: int) -> optax.GradientTransformation:
    flat = int(FLAT * n_steps)
    fall = optax.cosine_decay_schedule(learning_rate, max(n_steps - flat, 1), alpha=0.01)
    constant = optax.constant_schedule(learning_rate)
    return optax.adam(optax.join_schedules([constant, fall], [flat]))


@partial(jax.jit, static_argnums=(0, 1, 2))
def _first_state(guide: str, learning_rate: float, n_steps: int, point: Sites) -> Any:
    parameters = GUIDES[guide].start(ravel_pytree(point)[0])
    return parameters, _adam(learning_rate, n_steps).init(parameters)


@partial(jax.jit, static_argnums=(0, 1, 2, 3), donate_argnums=4)
def _block(
    target: Target,
    guide: str,
    learning_rate: float,
    n_steps: int,
    state: Any,
    like: Sites,
    batches: VoteData,
    turns: tuple[Int[Array, " step"], Float[Array, "step noise"]],
) -> tuple[Any, Float[Array, ""]]:
    """Steps over the batches in turn; the mean bound (nats) of the whole set."""
    adam = _adam(learning_rate, n_steps)

    def step(state: Any, turn: tuple[Array, Array]) -> tuple[Any, Array]:
        parameters, memory = state
        batch = jax.tree.map(lambda x: x[turn[0]], batches)
        loss = partial(_loss, target, guide, like, batch, turn[1])
        value, gradient = jax.value_and_grad(loss)(parameters)
        update, memory = adam.update(jax.tree.map(jnp.nan_to_num, gradient), memory)
        return (optax.apply_updates(parameters, update), memory), -value

    state, bounds = jax.lax.scan(step, state, turns)
    return state, bounds.mean()


def _loss(
    target: Target,
    guide: str,
    like: Sites,
    batch: VoteData,
    noise: Float[Array, " noise"],
    parameters: Any,
) -> Float[Array, ""]:
    """Minus the evidence lower bound, by one draw from the guide and one batch."""
    _, unravel = ravel_pytree(like)
    family = GUIDES[guide]
    point = unravel(family.draw(parameters, noise))
    entropy = family.entropy(parameters)
    if entropy.ndim:
        entropy = _entropy_here(target, unravel(entropy), batch)
    return -(target.log_joint(point, batch) + entropy)


def _entropy_here(target: Target, entropy: Sites, batch: VoteData) -> Float[Array, ""]:
    """Entropy of the guide; a batch counts only its own items' rows, for all."""
    rows = target.here(entropy, batch)
    by_item = {name for name, _ in target.item_sites}
    scales = {n: batch.scale if n in by_item else 1.0 for n in rows}
    return sum((scales[n] * x.sum() for n, x in rows.items()), start=jnp.zeros(()))


@partial(jax.jit, static_argnums=(0, 1, 2))
def _draws(
    target: Target,
    guide: str,
    n_draws: int,
    parameters: Any,
    like: Sites,
    key: Array,
    data: VoteData,
) -> tuple[Sites, Float[Array, " draw"]]:
    """Draws from the guide, constrained, with their log density."""
    flat, unravel = ravel_pytree(like)
    family = GUIDES[guide]

    def one(key: Array) -> tuple[Sites, Array]:
        noise = jax.random.normal(key, (family.n_noise(flat.shape[0]),))
        point = unravel(family.draw(parameters, noise))
        return target.constrain(point, data), target.log_joint(point, data)

    return jax.lax.map(one, jax.random.split(key, n_draws))


def _problems(bound: list[float], n_items: int) -> tuple[str, ...]:
    """Was the bound still rising when the step size began to fall?

    The last quarter of the steps at full size is compared with the quarter before: it may be higher
    by two standard errors, or by `STILL_RISING` for every item.
    """
    last = max(int(FLAT * len(bound)), 1)
    quarter = last // 4
    if quarter < 2:
        return (
            f"{len(bound)} blocks of steps are too few to tell whether the bound has settled: "
            "raise n_steps",
        )
    before, after = np.array(bound[last - 2 * quarter : last]).reshape(2, quarter)
    gain = after.mean() - before.mean()
    doubt = math.sqrt((before.var(ddof=1) + after.var(ddof=1)) / quarter)
    if not gain <= max(2 * doubt, STILL_RISING * n_items):
        return (
            f"the evidence lower bound was still rising (by {gain:.2g} nats) when the step size "
            "began to fall: raise n_steps, or learning_rate",
        )
    return ()
