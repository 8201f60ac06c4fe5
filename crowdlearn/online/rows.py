"""Arrays that grow at the end, at a cost that does not depend on how long they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(eq=False)
class Rows:
    """`n` rows of an array with room for more; new rows hold `fill`."""

    data: np.ndarray
    n: int
    fill: int | float = 0.0

    @classmethod
    def of(cls, dtype: Any, *tail: int, fill: int | float = 0.0) -> Rows:
        return cls(np.full((16, *tail), fill, dtype), 0, fill)

    @property
    def live(self) -> np.ndarray:
        """The rows that there are; a view."""
        return self.data[: self.n]

    def grow(self, n: int) -> None:
        """Have this many rows at least; room doubles, so a row costs the same on average."""
        if n > len(self.data):
            more = np.full((2 * n, *self.data.shape[1:]), self.fill, self.data.dtype)
            more[: self.n] = self.live
            self.data = more
        self.n = max(n, self.n)

    def append(self, values: np.ndarray) -> None:
        first = self.n
        self.grow(first + len(values))
        self.data[first : self.n] = values

    def widen(self, *tail: int) -> None:
        """Longer rows; entries that are new hold `fill`."""
        if self.data.shape[1:] != tail:
            more = np.full((len(self.data), *tail), self.fill, self.data.dtype)
            more[tuple(slice(0, size) for size in self.data.shape)] = self.data
            self.data = more
