"""What is believed before anybody is asked: all that a strategy may look at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from crowdlearn.aggregation import Aggregation
from crowdlearn.errors import SettingsError
from crowdlearn.votes import Votes


@dataclass(frozen=True, eq=False)
class Belief:
    """Posterior of all items, Dirichlet `counts` [worker, truth, label], and the votes behind them.

    `counts` are the parameters of every worker's rows, the prior and all votes included, so that
    counts / counts.sum(axis=2) is the confusion matrix. `classifier` has the probabilities that a
    classifier gives the items, out of fold, or None.
    """

    posterior: Float[np.ndarray, "item class"]
    counts: Float[np.ndarray, "worker class class"]
    votes: Votes
    classifier: Float[np.ndarray, "item class"] | None = None

    @classmethod
    def of_fit(
        cls, fit: Aggregation, *, off_diagonal: float = 1.0, diagonal: float = 2.0
    ) -> Belief:
        """The belief of a fit: each vote counted by its item's posterior, on top of this prior."""
        votes, n = fit.votes, fit.votes.n_classes
        counts = np.zeros((votes.n_workers, n, n))
        np.add.at(counts.transpose(0, 2, 1), (votes.worker, votes.label), fit.posterior[votes.item])
        prior = off_diagonal + (diagonal - off_diagonal) * np.eye(n)
        return cls(fit.posterior, counts + prior, votes)


class StreamBelief(Belief):
    """The belief of a stream as it stands; counts and votes are only gathered where looked at.

    The posterior is the stream's own array: use the belief before the next update.
    """

    def __init__(
        self,
        method: Any,
        state: Any,
        classifier: Float[np.ndarray, "item class"] | None = None,
    ) -> None:
        vars(self).update(
            method=method, state=state, posterior=state.tau.live, classifier=classifier
        )

    @cached_property
    def counts(self) -> Float[np.ndarray, "worker class class"]:
        """Raises SettingsError for a stream that keeps no counts of its workers."""
        method = vars(self)["method"]
        if not hasattr(method, "worker_counts"):
            raise SettingsError(
                f"a stream of {method.name!r} keeps no counts of its workers: use bcc or idbla, "
                "or a strategy that needs the posterior alone"
            )
        found: np.ndarray = method.worker_counts(vars(self)["state"])
        return found

    @cached_property
    def votes(self) -> Votes:
        found: Votes = vars(self)["state"].votes()
        return found
