"""Stories that draw their truths at a discrete site "truth": summed out by funsor, with a tilt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float
from numpyro.primitives import Messenger

from crowdlearn.models.data import VoteData


class Tilted(dist.Distribution):
    """A distribution over classes whose log probabilities have `tilt` added; not normalised."""

    arg_constraints: dict[str, Any] = {}
    has_enumerate_support = True

    def __init__(self, base: Any, tilt: Float[Array, "item class"]) -> None:
        self.base, self.tilt = base, tilt
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    @property
    def support(self) -> Any:
        return self.base.support

    def enumerate_support(self, expand: bool = True) -> Any:
        return self.base.enumerate_support(expand=expand)

    def sample(self, key: Any, sample_shape: tuple[int, ...] = ()) -> Any:
        return self.base.sample(key, sample_shape)

    def log_prob(self, value: Any) -> Any:
        item = jnp.arange(self.tilt.shape[0])
        for _ in range(_dims_right_of_items(self.batch_shape, len(item))):
            item = item[:, None]
        return self.base.log_prob(value) + self.tilt[item, value]


class tilt_truth(Messenger):
    """Adds `tilt` to the site "truth" of a story."""

    def __init__(self, fn: Callable[..., Any], tilt: Float[Array, "item class"]) -> None:
        self.tilt = tilt
        super().__init__(fn)

    def process_message(self, msg: dict[str, Any]) -> None:
        if msg["type"] == "sample" and msg["name"] == "truth":
            msg["fn"] = Tilted(msg["fn"], self.tilt)


def enumerated(
    model: Callable[..., Any], tilt: Float[Array, "item class"], nesting: int
) -> Callable[..., Any]:
    """The story with its truths tilted, and all discrete sites to be summed out."""
    from numpyro.contrib.funsor import config_enumerate, enum

    return enum(config_enumerate(tilt_truth(model, tilt)), -nesting - 1)


def enumerated_density(
    model: Callable[..., Any], data: VoteData, sites: dict[str, Any]
) -> Float[Array, ""]:
    """Log density of a draw and the votes, the discrete sites summed out."""
    from numpyro.contrib.funsor import log_density

    return log_density(model, (data,), {}, sites)[0]


def _dims_right_of_items(batch_shape: tuple[int, ...], n_items: int) -> int:
    return len(batch_shape) - 1 - max(d for d, size in enumerate(batch_shape) if size == n_items)
