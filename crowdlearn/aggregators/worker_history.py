"""What is known of workers from earlier fits, as a prior for the next one.

Story       A worker's row for truth k was Dirichlet(prior of the method). Earlier votes, their
            items' truths known with the earlier posterior, make it Dirichlet(prior + counts), with
            counts[w, c, k] = sum over earlier votes of w with label c of posterior[item, k]
Use         `fit(votes, history=...)` adds the counts to the method's own in every sweep. A worker
            whom no earlier fit has seen keeps the prior of the method.
Law         With `class_discount=1`, and the earlier truths known for sure, a fit of new votes with
            the history of the old ones is the fit of both together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float

from crowdlearn.aggregation import Aggregation
from crowdlearn.errors import SettingsError, VotesError
from crowdlearn.votes import VoteSet


@dataclass(frozen=True, eq=False)
class WorkerHistory:
    """Expected counts of earlier votes, by name of worker and class; make one with `from_fit`."""

    workers: pa.Array  # names, as strings
    classes: tuple[str, ...]
    counts: Float[np.ndarray, "worker label class"]
    class_counts: Float[np.ndarray, " class"]  # of earlier items

    @classmethod
    def from_fit(
        cls, fit: Aggregation, *, discount: float = 1.0, class_discount: float = 0.0
    ) -> WorkerHistory:
        """The history that a fit of any method leaves behind.

        An earlier vote counts as `discount` votes: less than 1 where workers may have changed.
        `class_discount` does the same for how frequent the classes were; 0 says nothing of that.
        A fit that had a history itself counts its own votes alone: join it with that history.
        Raises SettingsError where a discount is outside [0, 1].
        """
        for name, value in (("discount", discount), ("class_discount", class_discount)):
            if not 0 <= value <= 1:
                raise SettingsError(f"{name} is {value!r}: it must lie in [0, 1]")
        votes = fit.votes
        counts = np.zeros((votes.n_workers, votes.n_classes, votes.n_classes))
        cell = votes.worker.astype(np.int64) * votes.n_classes + votes.label
        flat = counts.reshape(-1, votes.n_classes)
        for k in range(votes.n_classes):
            flat[:, k] = np.bincount(cell, fit.posterior[votes.item, k], len(flat))
        return cls(
            workers=votes.workers.cast(pa.string()),
            classes=votes.classes,
            counts=discount * counts,
            class_counts=class_discount * fit.posterior.sum(axis=0),
        )

    @classmethod
    def joined(cls, histories: Sequence[WorkerHistory]) -> WorkerHistory:
        """All histories as one, counts added up by name. Raises SettingsError for none at all."""
        if not histories:
            raise SettingsError("there is no history to join: at least one is needed")
        workers = pa.concat_arrays([h.workers for h in histories]).unique()
        classes = tuple(dict.fromkeys(name for h in histories for name in h.classes))
        parts = [h.on(workers, classes) for h in histories]
        counts, class_counts = (reduce(np.add, each) for each in zip(*parts, strict=True))
        return cls(workers, classes, counts, class_counts)

    def on(
        self, workers: pa.Array, classes: Sequence[str]
    ) -> tuple[Float[np.ndarray, "_ label class"], Float[np.ndarray, " class"]]:
        """Counts for these workers and classes by name, zero for what the history lacks.

        Labels of other classes are left out: a Dirichlet row, given that the label is one of these
        classes, is the Dirichlet of their counts.
        """
        names = workers.cast(pa.string())
        worker = pc.fill_null(pc.index_in(names, self.workers), -1).to_numpy()
        known = pa.array(self.classes)
        place = pc.fill_null(pc.index_in(pa.array(list(classes)), known), -1).to_numpy()
        seen, mine = worker >= 0, place >= 0
        counts = np.zeros((len(names), len(classes), len(classes)))
        rows = self.counts[worker[seen]][:, place[mine]][:, :, place[mine]]
        counts[np.ix_(seen, mine, mine)] = rows
        class_counts = np.where(mine, self.class_counts[place], 0.0)
        return counts, class_counts


def earlier_counts(
    history: WorkerHistory | None, votes: VoteSet
) -> tuple[Float[np.ndarray, "*worker label class"], Float[np.ndarray, " class"]]:
    """What a history adds to the counts of workers and of classes; zeros where there is none.

    Raises VotesError for a history that shares no worker, or fewer than two classes, with `votes`.
    """
    n_classes = votes.n_classes
    if history is None:
        return np.zeros((n_classes, n_classes)), np.zeros(n_classes)
    if sum(name in history.classes for name in votes.classes) < 2:
        raise VotesError(
            f"the history is of the classes {', '.join(history.classes[:20])}, the votes are of "
            f"{', '.join(votes.classes[:20])}: a history needs two classes in common"
        )
    names = votes.workers.cast(pa.string())
    if not pc.any(pc.is_in(names, history.workers)).as_py():
        raise VotesError(
            f"none of the {votes.n_workers:,} workers, as {names[0].as_py()!r}, is in the history "
            f"of {len(history.workers):,}, as {history.workers[0].as_py()!r}: do the names differ?"
        )
    return history.on(votes.workers, votes.classes)
