"""Counts of actors added up: here, or in pairs on a Ray cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from crowdlearn.shards.cluster import got, ray
from crowdlearn.sweeps import Sums


def gathered(
    slots: Sequence[np.ndarray | None], refs: Sequence[Sequence[Any]], results: Sequence[Sums]
) -> Float[np.ndarray, " cell"] | None:
    """The counts of all actors: in memory that is shared, on the cluster, or as they came.

    None where some are gone, with an actor that had done its part.
    """
    parts: list[Any] = []
    far: list[Any] = []
    for slot, own, result in zip(slots, refs, results, strict=True):
        if slot is None and own:
            far += own
        else:
            parts.append(result.counts if slot is None else slot)
    if far:
        parts.append(in_pairs(far))
    return None if any(part is None for part in parts) else summed(parts)


def summed(parts: Sequence[np.ndarray]) -> Float[np.ndarray, " cell"]:
    """A new array: the sum of these, in their order."""
    if len(parts) == 1:
        return np.array(parts[0])
    total = parts[0] + parts[1]
    for part in parts[2:]:
        total += part
    return total


def in_pairs(refs: Sequence[Any]) -> Float[np.ndarray, " cell"] | None:
    """The sum of arrays that lie on the cluster, added there, two at a time; None if one is."""
    pair = ray.remote(num_cpus=0)(_paired)
    level = list(refs)
    while len(level) > 1:
        level = [
            pair.remote(*level[k : k + 2]) if k + 1 < len(level) else level[k]
            for k in range(0, len(level), 2)
        ]
    found: np.ndarray | None = got(level[0])
    return found


def _paired(a: np.ndarray | None, b: np.ndarray | None) -> np.ndarray | None:
    return None if a is None or b is None else a + b
