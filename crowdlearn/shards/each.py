"""How the calls of a pass are done: in turn, or as tasks on Ray.

A call reads a file or a bucket and writes a folder of its own, so calls may be done anywhere that
sees the same disk, in any order, and twice.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crowdlearn.shards.homes import no_such_device

Each = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], Iterable[Any]]
"""(function, arguments of each call) -> its results in that order."""


def in_turn(function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> Iterable[Any]:
    """`Each`, one call after the other."""
    return (function(*call) for call in calls)


def each_on(device: str) -> Each:
    """The `Each` of a device: "auto" and "cpu" are this process, "ray" and "ray://..." a cluster.

    Raises SettingsError for another device.
    """
    if device in ("auto", "cpu"):
        return in_turn
    if device == "ray" or device.startswith("ray://"):
        from crowdlearn.shards.ray_each import on_ray

        return on_ray(device)
    raise no_such_device(device)


@contextmanager
def once(folder: str | Path) -> Iterator[Path]:
    """A new folder that appears whole; where another try of the same call was first, its stays."""
    target = Path(folder)
    partial = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}.partial")
    partial.mkdir(parents=True)
    try:
        yield partial
        if not target.exists():
            partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
