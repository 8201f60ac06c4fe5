"""Stories, compiled once and evaluated in double precision."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import pytest
from numpyro import handlers
from numpyro.infer.util import log_density

from crowdlearn.models import STORIES, Reading, VoteData
from crowdlearn.votes import Votes

Evaluated = tuple[float, np.ndarray, Reading]


@pytest.fixture
def double() -> Iterator[None]:
    """Double precision for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def small() -> Votes:
    """Four items (the last without a vote), three workers, three classes; one repeated vote."""
    item = np.array([0, 0, 0, 1, 1, 2, 2])
    worker = np.array([0, 1, 0, 1, 2, 2, 0])
    label = np.array([0, 2, 0, 1, 1, 2, 0])
    return Votes.from_codes(item, worker, label, items=4, workers=3, classes=3)


@functools.cache
def evaluator(name: str, parameters: tuple[tuple[str, Any], ...] = ()) -> Callable[..., Evaluated]:
    """(sites, data) -> log density, posterior of the truths, reading."""
    story = functools.partial(STORIES[name], **dict(parameters))

    @jax.jit
    def evaluate(sites: dict[str, np.ndarray], data: VoteData) -> Any:
        reading = handlers.block(handlers.substitute(story, data=sites))(data)
        return log_density(story, (data,), {}, sites)[0], reading.truth(data), reading

    return evaluate
