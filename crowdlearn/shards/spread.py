"""Arrays that lie where their items lie: names for them here, arithmetic on them there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True)
class Ref:
    """An argument of an operation: the array of this name; `changes` where it is overwritten."""

    name: str
    changes: bool = False


@dataclass(frozen=True)
class Uniform:
    """An argument of an operation: numbers in [0, 1) for each item or vote, a stream a bucket."""

    entropy: tuple[int, ...]
    of: str  # "item" or "vote"


@runtime_checkable
class Crew(Protocol):
    """Those who hold the shards."""

    def call(self, op: str, args: Sequence[Any], creates: Sequence[str] = ()) -> list[Any]:
        """Do an operation on every shard; what each gives, in the order of their buckets."""

    def forget(self, name: str) -> None:
        """Let an array go."""

    def name(self) -> str:
        """A name for a new array; the same fit gets the same names."""

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        """An array's entries of the buckets `start` to `stop` (not included)."""

    def tabulate(
        self, how: str, counts: Any, given: Sequence[Any], name: str | None
    ) -> list[np.ndarray]:
        """Make something of the counts of each block of workers: what a maker says of each.

        Where it makes tables, they are kept under `name`. See `cuts.MAKERS`.
        """

    def block(self, name: str, block: int) -> np.ndarray:
        """A block of a table that is cut by workers."""


class Spread:
    """An array over all items (or votes), which never is in one place.

    Adds, subtracts, multiplies and divides with numbers and with others of its kind, into new ones.
    """

    __array_ufunc__ = None  # a NumPy number on the left leaves the operation to us

    def __init__(self, crew: Crew, length: int) -> None:
        self.crew, self.length = crew, length
        self.name = crew.name()
        self.version = 0  # how often it was overwritten

    def __del__(self) -> None:
        self.crew.forget(self.name)

    def __len__(self) -> int:
        return self.length

    @property
    def ref(self) -> Ref:
        """As an argument that is read."""
        return Ref(self.name)

    @property
    def changing(self) -> Ref:
        """As an argument that is overwritten."""
        self.version += 1
        return Ref(self.name, changes=True)

    def mean(self) -> float:
        """Over all items."""
        return float(sum(self.crew.call("total", [self.ref])) / self.length)

    def _with(self, how: str, other: Any, swapped: bool = False) -> Spread:
        new = Spread(self.crew, self.length)
        theirs = other.ref if isinstance(other, Spread) else np.float64(other)
        pair = [theirs, self.ref] if swapped else [self.ref, theirs]
        self.crew.call("arithmetic", [how, *pair], creates=[new.name])
        return new

    def __add__(self, other: Any) -> Spread:
        return self._with("add", other)

    def __radd__(self, other: Any) -> Spread:
        return self._with("add", other)

    def __sub__(self, other: Any) -> Spread:
        return self._with("subtract", other)

    def __rsub__(self, other: Any) -> Spread:
        return self._with("subtract", other, swapped=True)

    def __mul__(self, other: Any) -> Spread:
        return self._with("multiply", other)

    def __rmul__(self, other: Any) -> Spread:
        return self._with("multiply", other)

    def __truediv__(self, other: Any) -> Spread:
        return self._with("divide", other)
