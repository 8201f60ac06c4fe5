"""The federation in which the accuracy with each defence is measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from fedsec.federated.defence_cost import accuracy_with
from fedsec.federated.simulate import Federation
from fedsec.federated.task import Task
from fedsec.inversion.audit.ladders import Protection, federated


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A task, and how it is learnt without a defence."""

    task: Task
    federation: Federation

    def accuracy(
        self, protection: Protection | None, n_rounds: int, n_seeds: int
    ) -> Float[np.ndarray, " seed"]:
        """On the test set, after so many rounds, of each of so many trainings."""
        federation = self.federation
        if protection is not None:
            federation = federated(federation, protection)
        first = federation.seed
        return accuracy_with(
            self.task, federation, n_rounds=n_rounds,
            seeds=range(first, first + n_seeds),
        )  # fmt: skip
