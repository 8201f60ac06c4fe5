"""What a stream remembers, and what an update gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int32, Int64

from crowdlearn.online.ledger import Ledger
from crowdlearn.online.rows import Rows
from crowdlearn.votes import Votes


@dataclass(frozen=True, eq=False)
class Update:
    """The items that a batch touched, as they stand after it.

    `labels` are codes into `classes`. `sweeps` says how many rounds over the batch it took.
    """

    items: pa.Array
    posterior: Float[np.ndarray, "touched class"]
    labels: Int32[np.ndarray, " touched"]
    classes: tuple[str, ...]
    codes: Int64[np.ndarray, " touched"]  # positions among the items of the state
    sweeps: int = 0


@dataclass(eq=False)
class StreamState:
    """Votes so far and the posterior of every item as last answered. Consumed by an update."""

    ledger: Ledger
    tau: Rows = field(default_factory=lambda: Rows.of(np.float64, 0))
    n_updates: int = 0

    @property
    def classes(self) -> tuple[str, ...]:
        return self.ledger.classes

    @property
    def items(self) -> list[str]:
        return self.ledger.item_names

    @property
    def workers(self) -> list[str]:
        return self.ledger.worker_names

    @property
    def n_votes(self) -> int:
        return self.ledger.n_votes

    def posterior(self) -> Float[np.ndarray, "item class"]:
        """A copy: every item's posterior as of the last batch that touched it."""
        return self.tau.live.copy()

    def votes(self) -> Votes:
        """All votes so far."""
        return self.ledger.votes()

    def grow(self) -> None:
        """Make room for the items, workers and classes that the ledger has taken in."""
        self.tau.widen(self.ledger.n_classes)
        self.tau.grow(self.ledger.n_items)

    def arrays(self) -> dict[str, np.ndarray]:
        """What `restore` needs beside the ledger."""
        return {"tau": self.tau.live}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take these arrays over."""
        self.tau = Rows(arrays["tau"], len(arrays["tau"]))


def empty_ledger(classes: Any) -> Ledger:
    """A ledger with these classes, in their order; more may come with the votes."""
    return Ledger(tuple(str(name) for name in classes))
