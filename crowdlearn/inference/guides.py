"""Variational families over a story's unconstrained parameters, each a start, a draw, an entropy.

A guide is a Normal on the unconstrained space, as the guides of NumPyro's `autoguide` are; its
entropy is taken in closed form. `GUIDES` names them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

FIRST_SCALE = 0.1
RANK = 10  # of the low-rank guide's covariance, besides its diagonal


class Guide(NamedTuple):
    """`start(point) -> parameters`, `draw(parameters, noise) -> point`, `entropy(parameters)`.

    `n_noise(n)` standard normal numbers make one draw of `n` parameters. The entropy is one number,
    or one for each parameter where these are independent (a batch then counts its own rows).
    """

    start: Callable[[Array], Any]
    draw: Callable[[Any, Array], Array]
    entropy: Callable[[Any], Array]
    n_noise: Callable[[int], int]


def _start_normal(point: Float[Array, " n"]) -> dict[str, Array]:
    return {"loc": point, "log_scale": jnp.full_like(point, math.log(FIRST_SCALE))}


def _draw_normal(parameters: dict[str, Array], noise: Float[Array, " n"]) -> Float[Array, " n"]:
    return parameters["loc"] + jnp.exp(parameters["log_scale"]) * noise


def _entropy_normal(parameters: dict[str, Array]) -> Float[Array, " n"]:
    return parameters["log_scale"] + 0.5 * math.log(2 * math.pi * math.e)


def _start_multivariate(point: Float[Array, " n"]) -> dict[str, Array]:
    n = point.shape[0]
    return _start_normal(point) | {"below": jnp.zeros((n, n))}


def _draw_multivariate(
    parameters: dict[str, Array], noise: Float[Array, " n"]
) -> Float[Array, " n"]:
    scale, below = jnp.exp(parameters["log_scale"]), jnp.tril(parameters["below"], -1)
    mixed = below @ noise / math.sqrt(noise.shape[0])  # so that Adam's steps suit any size
    return parameters["loc"] + scale * (noise + mixed)


def _start_lowrank(point: Float[Array, " n"]) -> dict[str, Array]:
    rank = min(RANK, point.shape[0])
    factor = 0.01 * jax.random.normal(jax.random.key(0), (point.shape[0], rank))
    return _start_normal(point) | {"factor": factor}


def _draw_lowrank(parameters: dict[str, Array], noise: Float[Array, " m"]) -> Float[Array, " n"]:
    n, rank = parameters["factor"].shape
    shared = parameters["factor"] @ noise[n : n + rank]
    return parameters["loc"] + jnp.exp(parameters["log_scale"]) * (noise[:n] + shared)


def _entropy_lowrank(parameters: dict[str, Array]) -> Float[Array, ""]:
    factor = parameters["factor"]
    inner = jnp.eye(factor.shape[1]) + factor.T @ factor
    return _entropy_normal(parameters).sum() + 0.5 * jnp.linalg.slogdet(inner)[1]


def _start_delta(point: Float[Array, " n"]) -> dict[str, Array]:
    return {"loc": point}


def _draw_delta(parameters: dict[str, Array], noise: Float[Array, " 0"]) -> Float[Array, " n"]:
    return parameters["loc"]


def _entropy_delta(parameters: dict[str, Array]) -> Float[Array, " n"]:
    return jnp.zeros_like(parameters["loc"])


GUIDES: dict[str, Guide] = {
    "normal": Guide(_start_normal, _draw_normal, _entropy_normal, lambda n: n),
    "multivariate": Guide(_start_multivariate, _draw_multivariate, _entropy_normal, lambda n: n),
    "lowrank": Guide(_start_lowrank, _draw_lowrank, _entropy_lowrank, lambda n: n + min(RANK, n)),
    "delta": Guide(_start_delta, _draw_delta, _entropy_delta, lambda n: 0),
}
