"""Stable counting sort: the CSR index behind `Votes`."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int, Int64


def group(
    keys: Int[np.ndarray, " row"], n_groups: int
) -> tuple[Int64[np.ndarray, " offset"], Int64[np.ndarray, " row"] | None]:
    """Offsets of each group, and the stable order that sorts the rows; None if already sorted."""
    counts = np.bincount(keys, minlength=n_groups)
    offsets = np.zeros(n_groups + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    if len(keys) < 2 or not _falls_anywhere(keys):
        return offsets, None
    if len(keys) < 100_000:
        return offsets, np.argsort(keys, kind="stable")
    from crowdlearn.sweeps.kernels import scatter_order

    return offsets, scatter_order(np.ascontiguousarray(keys, dtype=np.int32), offsets)


def _falls_anywhere(keys: np.ndarray, chunk: int = 1 << 20) -> bool:
    return any(
        bool(np.any(keys[i + 1 : i + 1 + chunk] < keys[i : i + chunk][: len(keys) - i - 1]))
        for i in range(0, len(keys) - 1, chunk)
    )
