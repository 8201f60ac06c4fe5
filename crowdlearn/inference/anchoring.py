"""Where NUTS and SVI start: near what the vote shares say, so that classes keep their names.

The story's density does not always know which class is which. The start is an optimum of the story
with every item's class pulled towards its vote shares: a tilt of `PULL` times their logarithms.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from crowdlearn.inference.target import Sites, Target
from crowdlearn.models.data import VoteData

PULL = 10.0  # nats for every factor of e in the shares: more than a few votes can outweigh
LEAST_SHARE = 0.02
N_STEPS = 200
STEP_SIZE = 0.05


def tilt_to(shares: Float[np.ndarray, "item class"]) -> Float[Array, "item class"]:
    """The tilt that pulls items towards these shares."""
    log_share = np.log(np.maximum(shares, LEAST_SHARE))
    return jnp.asarray(PULL * (log_share - log_share.max(axis=1, keepdims=True)))


@partial(jax.jit, static_argnames=("target", "n_steps"))
def anchored_start(
    target: Target,
    key: Array,
    batches: VoteData,
    tilt: Float[Array, "all class"],
    first: Sites,
    n_steps: int = N_STEPS,
) -> Sites:
    """The unconstrained point that `n_steps` of Adam reach from `first`, a batch at each step.

    `batches` holds stacked batches, of which every step takes one at random.
    """
    flat, unravel = ravel_pytree(first)
    adam = optax.adam(STEP_SIZE)
    n_batches = batches.index.shape[0]

    def loss(point: Array, chosen: Array) -> Array:
        batch = jax.tree.map(lambda x: x[chosen], batches)
        return -target.anchored(unravel(point), batch, tilt)

    def step(
        state: tuple[Array, optax.OptState], key: Array
    ) -> tuple[tuple[Array, optax.OptState], None]:
        point, memory = state
        gradient = jax.grad(loss)(point, jax.random.randint(key, (), 0, n_batches))
        update, memory = adam.update(jnp.nan_to_num(gradient), memory)
        return (optax.apply_updates(point, update), memory), None

    (point, _), _ = jax.lax.scan(step, (flat, adam.init(flat)), jax.random.split(key, n_steps))
    return unravel(point)
