"""SoftVotes: votes that say how probable each class is, hard votes among them or not.

A soft vote is a row of probabilities, one a class. A hard vote is the row that is sure of its
label. Everywhere else in the library `SoftVotes` are votes whose label is the most probable class;
the method `soft` reads the probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from crowdlearn.errors import VotesError
from crowdlearn.grouping import group
from crowdlearn.votes import Votes


@dataclass(frozen=True, eq=False)
class SoftVotes(Votes):
    """`Votes` with a distribution over classes for each; build one with `from_opinions`.

    `label` is the most probable class of each vote, the first of several.
    """

    opinion: Float[np.ndarray, "vote class"]

    @classmethod
    def from_opinions(
        cls,
        item: Int[np.ndarray, " vote"],
        worker: Int[np.ndarray, " vote"],
        opinion: Float[np.ndarray, "vote class"],
        *,
        items: pa.Array | Sequence[str] | int | None = None,
        workers: pa.Array | Sequence[str] | int | None = None,
        classes: Sequence[str] | None = None,
    ) -> SoftVotes:
        """Soft votes from 0-based codes and rows of probabilities, in any order.

        Rows are scaled to sum to one. Raises VotesError where a row does not, but for what rounding
        to two decimals does, holds a number outside [0, 1], and as `Votes.from_codes` does.
        """
        bad = np.flatnonzero(improper(opinion))
        if len(bad):
            row = ", ".join(f"{p:g}" for p in opinion[bad[0], :20])
            raise VotesError(f"vote {bad[0]}: {row} are not probabilities that sum to one")
        plain = Votes.from_codes(
            item,
            worker,
            opinion.argmax(axis=1) if len(opinion) else np.zeros(0, dtype=np.int64),
            items=items,
            workers=workers,
            classes=opinion.shape[1] if classes is None else classes,
        )
        if plain.n_classes != opinion.shape[1]:
            raise VotesError(
                f"there are {plain.n_classes} classes, but rows of {opinion.shape[1]} probabilities"
            )
        _, order = group(item, plain.n_items)
        rows = opinion if order is None else opinion[order]
        return with_opinions(plain, rows / rows.sum(axis=1, keepdims=True))

    @classmethod
    def from_codes(
        cls,
        item: Int[np.ndarray, " vote"],
        worker: Int[np.ndarray, " vote"],
        label: Int[np.ndarray, " vote"],
        *,
        items: pa.Array | Sequence[str] | int | None = None,
        workers: pa.Array | Sequence[str] | int | None = None,
        classes: Sequence[str] | int | None = None,
    ) -> SoftVotes:
        """Hard votes as soft ones: each is sure of its label."""
        plain = Votes.from_codes(item, worker, label, items=items, workers=workers, classes=classes)
        return with_opinions(plain, opinions_of(plain))

    def counts(self) -> Float[np.ndarray, "item class"]:
        """The sum of an item's probabilities for each class."""
        item, n_items = self.item, self.n_items
        columns = [np.bincount(item, column, n_items) for column in self.opinion.T]
        return np.stack(columns, axis=1)

    def to_table(self) -> pa.Table:
        """A long table with columns task, worker, and p_<class> for each class."""
        plain = super().to_table().select(["task", "worker"])
        for k, name in enumerate(self.classes):
            plain = plain.append_column(f"p_{name}", pa.array(self.opinion[:, k]))
        return plain

    def only_workers(self, keep: np.ndarray) -> SoftVotes:
        """`Votes.only_workers`."""
        plain = _plain(self).only_workers(keep)
        return with_opinions(plain, self.opinion[keep[self.worker]])

    def only_items(self, keep: np.ndarray) -> SoftVotes:
        """`Votes.only_items`."""
        return with_opinions(_plain(self).only_items(keep), self.opinion[keep[self.item]])


def opinions_of(votes: Votes) -> Float[np.ndarray, "vote class"]:
    """The probabilities of soft votes; rows that are sure of their label for plain ones."""
    if isinstance(votes, SoftVotes):
        return votes.opinion
    return np.eye(votes.n_classes)[votes.label]


def with_opinions(votes: Votes, opinion: Float[np.ndarray, "vote class"]) -> SoftVotes:
    """These votes with these probabilities, in the order of the votes."""
    values: dict[str, Any] = {f.name: getattr(votes, f.name) for f in fields(Votes)}
    values["label"] = opinion.argmax(axis=1).astype(np.int32)
    return SoftVotes(**values, opinion=np.ascontiguousarray(opinion, dtype=np.float64))


def improper(opinion: Float[np.ndarray, "vote class"]) -> np.ndarray:
    """Which rows are no probabilities, two decimals of rounding granted."""
    slack = 0.005 * opinion.shape[1] + 1e-9
    off = np.abs(opinion.sum(axis=1) - 1)
    return ~((opinion >= 0).all(axis=1) & (opinion <= 1 + 1e-9).all(axis=1) & (off <= slack))


def _plain(votes: Votes) -> Votes:
    return Votes(**{f.name: getattr(votes, f.name) for f in fields(Votes)})
