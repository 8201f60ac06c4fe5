"""Fixed-IDBLA: on a hard item a worker guesses, any class alike."""

from __future__ import annotations

import jax.numpy as jnp

from crowdlearn.models.data import VoteData
from crowdlearn.models.idbla import read_with_guesses
from crowdlearn.models.reading import Reading


def fixed_idbla(
    data: VoteData,
    *,
    prior_count: float = 1.0,
    off_diagonal: float = 1.0,
    diagonal: float = 1.0,
    easy: float = 9.0,
    hard: float = 1.0,
) -> Reading:
    """Hong (2017), arXiv 1706.03930, as reconstructed in `aggregators/difficulty.py`.

    The story of `idbla`, with `guess` uniform instead of learned.
    """
    guess = jnp.full(data.n_classes, 1 / data.n_classes)
    return read_with_guesses(data, guess, prior_count, off_diagonal, diagonal, easy, hard)
