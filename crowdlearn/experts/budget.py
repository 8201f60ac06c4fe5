"""How many answers an expert may still be asked for. Spending gives a new budget."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from crowdlearn.errors import SettingsError

SLACK = 1e-9  # of the total: costs such as 0.1 are not exact


@dataclass(frozen=True, kw_only=True)
class Budget:
    """`total` to spend, on answers at `item_cost` each and on batches at `batch_cost` each.

    `most_a_batch` limits one batch. All costs are in one currency of the user's.
    """

    total: float
    item_cost: float = 1.0
    batch_cost: float = 0.0
    most_a_batch: int | None = None
    spent: float = 0.0

    def __post_init__(self) -> None:
        for name in ("total", "batch_cost", "spent"):
            if not getattr(self, name) >= 0:
                raise SettingsError(
                    f"{name} of a budget must be at least 0, not {getattr(self, name)!r}"
                )
        if not self.item_cost > 0:
            raise SettingsError(f"item_cost of a budget must be above 0, not {self.item_cost!r}")

    @property
    def left(self) -> float:
        return max(self.total - self.spent, 0.0)

    def affordable(self, n: int, loss: float | None = None) -> int:
        """How many of `n` items may be asked in one batch now, whatever the loss."""
        room = self.total * (1 + SLACK) - self.spent - self.batch_cost
        most = max(math.floor(room / self.item_cost), 0)
        return min(n, most, n if self.most_a_batch is None else self.most_a_batch)

    def after(self, n: int, loss: float | None = None) -> Budget:
        """The budget once a batch of `n` is asked. Raises SettingsError where it is too much."""
        if n > self.affordable(n):
            raise SettingsError(
                f"a batch of {n} exceeds the budget: {self.affordable(n)} can be asked now"
            )
        cost = n * self.item_cost + self.batch_cost if n else 0.0
        return replace(self, spent=self.spent + cost)


@dataclass(frozen=True, kw_only=True)
class DynamicBudget:
    """More answers for a batch that the classifier finds hard, never more than `total` in all.

    A batch gets round(base * loss / mean loss of the batches before), between `least` and `most`.
    QActor (Younesian et al., 2021, ACML): the query limit follows the training loss; the ratio to
    the running mean is reconstructed.
    """

    total: int
    base: int
    least: int = 0
    most: int | None = None
    spent: int = 0
    n_losses: int = 0
    mean_loss: float = 0.0

    def __post_init__(self) -> None:
        if min(self.total, self.base, self.least, self.spent) < 0:
            raise SettingsError("total, base, least and spent of a budget must be at least 0")
        if self.most is not None and self.most < self.least:
            raise SettingsError(f"most {self.most} of a budget is below its least {self.least}")

    def affordable(self, n: int, loss: float | None = None) -> int:
        """How many of `n` items to ask about now, after a training loss; `base` without one."""
        wanted = float(self.base)
        if loss is not None and self.n_losses and self.mean_loss > 0:
            share = min(loss / self.mean_loss, 1.0 + self.total)  # infinite beside a loss near 0
            wanted *= share
        most = self.total if self.most is None else self.most
        capped = max(min(round(min(wanted, self.total)), most), self.least)
        return min(capped, n, self.total - self.spent)

    def after(self, n: int, loss: float | None = None) -> DynamicBudget:
        """The budget once `n` are asked. Raises SettingsError where it is too much."""
        if n > self.total - self.spent:
            raise SettingsError(
                f"a batch of {n} exceeds the budget: {self.total - self.spent} can be asked now"
            )
        if loss is None:
            return replace(self, spent=self.spent + n)
        seen = self.n_losses + 1
        mean = self.mean_loss + (loss - self.mean_loss) / seen
        return replace(self, spent=self.spent + n, n_losses=seen, mean_loss=mean)
