"""What a defence costs in accuracy, measured by training with it.

The same federation is trained with and without, from the same parameters and with the same choices
of clients and batches seed by seed: the difference of two rows of accuracies is paired.

    base = Federation(per_round=5, local=LocalTraining(lr=0.1, batch=8))
    plain = accuracy_with(task, base, n_rounds=20, seeds=range(3))
    noisy = accuracy_with(task, base, RelativeNoise(scale=1.0), n_rounds=20, seeds=range(3))
    cut = accuracy_with(
        task, replace(base, engine=DefendedClients(defence=Soteria())), n_rounds=20, seeds=range(3)
    )
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from fedsec.core.functional import state_of
from fedsec.errors import SettingsError
from fedsec.federated.privacy import Defence
from fedsec.federated.simulate import Federation, begin, simulate
from fedsec.federated.task import Task


def accuracy_with(
    task: Task,
    federation: Federation,
    *defences: Defence,
    n_rounds: int,
    seeds: Sequence[int],
) -> Float[np.ndarray, " seed"]:
    """Accuracy on the test set after `n_rounds` rounds, for each seed, in [0, 1].

    `defences` come after those of the federation. Every run starts at the network's own
    parameters. An update that is not finite is left out, as a server would, so that a defence under
    which training diverges gets the accuracy of what is left, and no error.

    Raises SettingsError where there is no round or no seed, and as `begin` does.
    """
    if n_rounds < 1 or not len(seeds):
        raise SettingsError(f"{n_rounds} rounds, {len(seeds)} seeds: give at least one of each")
    settings = replace(
        federation, defences=(*federation.defences, *defences), evaluate_every=n_rounds,
        skip_bad_updates=True,
    )  # fmt: skip
    return np.array([_accuracy(task, replace(settings, seed=seed), n_rounds) for seed in seeds])


def _accuracy(task: Task, federation: Federation, n_rounds: int) -> float:
    start = begin(task, federation, state_of(task.net))
    *_, end = simulate(task, federation, start, n_rounds)
    return end.rounds[-1].accuracy
