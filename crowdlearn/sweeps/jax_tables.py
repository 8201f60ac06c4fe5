"""Tables from counts as JAX functions; what `tables.py` is on the CPU. All sums are float64."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma, gammaln
from jaxtyping import Array, Float

from crowdlearn.sweeps.kernels import TINY


@partial(jax.jit, static_argnames="dtype")
def normalised(
    counts: Float[Array, " entry"], extra: Float[Array, "*worker label state"], *, dtype: np.dtype
) -> tuple[Float[Array, " entry"], Float[Array, ""]]:
    """See `tables.normalised`."""
    cube = counts.reshape(-1, *extra.shape[-2:]) + extra
    total = cube.sum(axis=1, keepdims=True)
    table = jnp.maximum(jnp.where(total > 0, cube / total, 1 / extra.shape[-2]), TINY)
    log_extra = jnp.where(extra > 0, extra * jnp.log(table), 0.0).sum()
    return table.ravel().astype(dtype), log_extra


@partial(jax.jit, static_argnames=("dtype", "logs"))
def expected(
    counts: Float[Array, " entry"],
    extra: Float[Array, "*worker label state"],
    *,
    dtype: np.dtype,
    logs: bool,
) -> tuple[Float[Array, " entry"], Float[Array, ""]]:
    """See `tables.expected`."""
    cube = counts.reshape(-1, *extra.shape[-2:])
    after = cube + extra
    total = after.sum(axis=1, keepdims=True)
    table = digamma(after) - digamma(total)
    divergence = (gammaln(total) - gammaln(extra.sum(axis=-2, keepdims=True))).sum()
    divergence += (gammaln(extra) - gammaln(after) + cube * table).sum()
    table = table if logs else jnp.maximum(jnp.exp(table), TINY)
    return table.ravel().astype(dtype), divergence


@partial(jax.jit, static_argnames="logs")
def beta_expectations(
    seen: Float[Array, " item"],
    votes_per_item: Float[Array, " item"],
    a: float | Float[Array, ""],
    b: float | Float[Array, ""],
    *,
    logs: bool,
) -> tuple[Float[Array, " item"], Float[Array, " item"], Float[Array, ""]]:
    """See `tables.beta_expectations`."""
    missed = jnp.maximum(votes_per_item - seen, 0.0)
    psi = digamma(a + b + seen + missed)
    sees, misses = digamma(a + seen) - psi, digamma(b + missed) - psi
    divergence = gammaln(a + b + seen + missed) - gammaln(a + seen) - gammaln(b + missed)
    divergence -= gammaln(a + b) - gammaln(a) - gammaln(b)
    divergence += seen * sees + missed * misses
    if not logs:
        sees, misses = jnp.exp(sees), jnp.exp(misses)
    return sees, misses, divergence.sum()
