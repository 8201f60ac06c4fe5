"""Threads over fixed ranges: the same ranges, and so the same sums, for any number of threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Pool:
    """Runs a function over ranges, in order or on threads; the function must release the GIL."""

    def __init__(self, n_threads: int = 0) -> None:
        self.n_threads = n_threads or available_cores()
        self._executor = ThreadPoolExecutor(self.n_threads) if self.n_threads > 1 else None

    def run(self, function: Callable[..., T], ranges: Sequence[tuple[Any, ...]]) -> list[T]:
        """`[function(*r) for r in ranges]`, in that order."""
        if self._executor is None or len(ranges) == 1:
            return [function(*r) for r in ranges]
        return list(self._executor.map(lambda r: function(*r), ranges))


def split(n: int, n_parts: int) -> list[tuple[int, int]]:
    """`range(n)` cut into at most `n_parts` even ranges (one, if `n` is 0)."""
    n_parts = max(1, min(n_parts, n))
    cuts = [n * part // n_parts for part in range(n_parts + 1)]
    return list(zip(cuts[:-1], cuts[1:], strict=True))
