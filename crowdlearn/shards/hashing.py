"""Where an item belongs: a 64-bit hash of its name, the same on every machine and in every run."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
import pyarrow as pa
from jaxtyping import Int, UInt64
from numba import njit


def hashes(names: pa.Array, salt: int = 0) -> UInt64[np.ndarray, " name"]:
    """FNV-1a of the UTF-8 of each name, its bits then mixed (the finaliser of SplitMix64).

    Integers count as their decimal digits. Another `salt` (from 0) gives other hashes.
    """
    text = names.cast(pa.large_string())
    out = np.empty(len(text), dtype=np.uint64)
    if len(text):
        _, offsets, data = text.buffers()
        ends = np.frombuffer(offsets, dtype=np.int64)[text.offset : text.offset + len(text) + 1]
        raw = np.frombuffer(b"" if data is None else data, dtype=np.uint8)
        _hash(ends, raw, np.uint64(salt), out)
    return out


def buckets(hashed: UInt64[np.ndarray, " name"], n_buckets: int) -> Int[np.ndarray, " name"]:
    """Bucket of each hash: equal ranges of hashes, so that buckets in turn are sorted by hash."""
    high = (hashed >> np.uint64(32)).astype(np.int64)
    return ((high * n_buckets) >> 32).astype(np.int32)


@njit(nogil=True, cache=True)
@no_type_check
def _hash(ends, raw, salt, out):
    for i in range(len(out)):
        h = np.uint64(0xCBF29CE484222325) ^ (salt * np.uint64(0x9E3779B97F4A7C15))
        for at in range(ends[i], ends[i + 1]):
            h = (h ^ np.uint64(raw[at])) * np.uint64(0x100000001B3)
        h ^= h >> np.uint64(30)
        h *= np.uint64(0xBF58476D1CE4E5B9)
        h ^= h >> np.uint64(27)
        h *= np.uint64(0x94D049BB133111EB)
        out[i] = h ^ (h >> np.uint64(31))
