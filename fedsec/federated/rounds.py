"""What is remembered of a round, and what a selector sees of all rounds so far.

A selector is a function `(view, rng) -> ids`. It keeps nothing to itself: all it may know is in the
`View`, which is made from the recorded rounds. So a run that is resumed, or that a real deployment
continues, selects as the uninterrupted one would.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from fedsec.errors import SettingsError


@dataclass(frozen=True)
class Probe:
    """How the global model does on a client's own data before any local training."""

    loss: float  # mean cross-entropy, nats
    accuracy: float  # in [0, 1]


@dataclass(frozen=True, eq=False)
class Round:
    """One round as it happened.

    number         1 for the first
    chosen         ids, in the order in which the selector gave them
    n              samples that each chosen client trained on
    loss           mean over the samples of the first local epoch of the loss met in training
    loss_rms       root of the mean square of the same losses (what Oort ranks by)
    seconds        of local training, for each chosen client
    contribution   value of each chosen client in this round, where it was measured
    probed         what the selector asked for while it chose: id -> probe of the global model
    refused        chosen clients whose update was not used
    accuracy       of the global model after the round, on the test set; NaN where not evaluated
    recall         the same for each class
    phases         seconds of the server by phase: select, train, aggregate, contribute, evaluate
    """

    number: int
    chosen: Int[np.ndarray, " chosen"]
    n: Int[np.ndarray, " chosen"]
    loss: Float[np.ndarray, " chosen"]
    loss_rms: Float[np.ndarray, " chosen"]
    seconds: Float[np.ndarray, " chosen"]
    contribution: Float[np.ndarray, " chosen"] | None = None
    probed: Mapping[int, Probe] = field(default_factory=dict)
    refused: tuple[int, ...] = ()
    accuracy: float = float("nan")
    recall: Float[np.ndarray, " class"] | None = None
    phases: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class View:
    """What a selector may know when it chooses the clients of a round.

    number      of the round to come, 1 for the first
    per_round   how many clients to choose, K
    counts      (client, class): label counts, which every client reports once
    rounds      all rounds so far
    probe       evaluates the global model on the data of these clients (and costs them a pass)
    """

    number: int
    per_round: int
    counts: Int[np.ndarray, "client class"]
    rounds: Sequence[Round] = ()
    probe: Callable[[Int[np.ndarray, " some"]], list[Probe]] | None = None

    @property
    def n_clients(self) -> int:
        """N."""
        return len(self.counts)

    @property
    def sizes(self) -> Int[np.ndarray, " client"]:
        """Samples of each client."""
        return self.counts.sum(axis=1)

    def times_chosen(self) -> Int[np.ndarray, " client"]:
        """In how many rounds each client took part."""
        times = np.zeros(self.n_clients, dtype=np.int64)
        for one in self.rounds:
            times[one.chosen] += 1
        return times

    def last_round(self) -> Int[np.ndarray, " client"]:
        """The last round each client took part in; 0 for never."""
        last = np.zeros(self.n_clients, dtype=np.int64)
        for one in self.rounds:
            last[one.chosen] = one.number
        return last

    def last_known(
        self, of: Callable[[Round], Float[np.ndarray, " chosen"] | None]
    ) -> Float[np.ndarray, " client"]:
        """The newest of a per-client figure, as `view.last_known(lambda r: r.loss)`; else NaN."""
        known = np.full(self.n_clients, np.nan)
        for one in self.rounds:
            values = of(one)
            if values is not None:
                known[one.chosen] = values
        return known

    def last_probe(self) -> tuple[Float[np.ndarray, " client"], Float[np.ndarray, " client"]]:
        """Loss and accuracy of the newest probe of each client; NaN where never probed."""
        loss, accuracy = np.full(self.n_clients, np.nan), np.full(self.n_clients, np.nan)
        for one in self.rounds:
            for client, probe in one.probed.items():
                loss[client], accuracy[client] = probe.loss, probe.accuracy
        return loss, accuracy


@runtime_checkable
class Selector(Protocol):
    """Chooses the clients of a round."""

    def __call__(self, view: View, rng: np.random.Generator) -> Int[np.ndarray, " chosen"]:
        """`view.per_round` different ids."""


def checked_choice(ids: Int[np.ndarray, " chosen"], view: View) -> Int[np.ndarray, " chosen"]:
    """The ids. Raises SettingsError where a selector gave too many, too few, or one twice."""
    inside: Bool[np.ndarray, " chosen"] = (ids >= 0) & (ids < view.n_clients)
    if len(ids) != view.per_round or len(np.unique(ids)) != len(ids) or not inside.all():
        raise SettingsError(
            f"round {view.number}: the selector gave {ids.tolist()}, not {view.per_round} different"
            f" clients of 0 to {view.n_clients - 1}"
        )
    return ids
