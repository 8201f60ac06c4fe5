"""Long computations take turns: one at a time, and who comes second is told to come again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import HTTPException


@contextmanager
def one_at_a_time(lock: threading.Lock) -> Iterator[None]:
    """Hold the lock; where it is taken, 429."""
    if not lock.acquire(blocking=False):
        detail = "another long computation is running: try again when it has ended"
        raise HTTPException(429, detail, {"Retry-After": "10"})
    try:
        yield
    finally:
        lock.release()
