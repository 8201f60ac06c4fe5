"""The accuracy that training with a defence ends at, seed by seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from fedsec.core.functional import flatten, state_of
from fedsec.core.record import Update
from fedsec.errors import SettingsError
from fedsec.federated.defence_cost import accuracy_with
from fedsec.federated.local import LocalTraining
from fedsec.federated.privacy import Clip, DefendedClients, RelativeNoise, Soteria
from fedsec.federated.simulate import Federation, begin, simulate
from fedsec.federated.task import Task

MakeTask = Callable[..., Task]
BASE = Federation(per_round=4, local=LocalTraining(lr=0.5, batch=16))


def test_it_is_the_last_accuracy_of_a_simulation(make_task: MakeTask) -> None:
    task, seeds = make_task(), (3, 5)
    found = accuracy_with(task, BASE, Clip(norm=0.5), n_rounds=3, seeds=seeds)
    for accuracy, seed in zip(found, seeds, strict=True):
        federation = replace(BASE, defences=(Clip(norm=0.5),), seed=seed)
        progress = begin(task, federation, state_of(task.net))
        *_, progress = simulate(task, federation, progress, 3)
        assert accuracy == progress.rounds[-1].accuracy


def test_defences_come_after_those_of_the_federation(make_task: MakeTask) -> None:
    task = make_task()
    both = replace(BASE, defences=(Clip(norm=0.5), RelativeNoise(scale=2.0)))
    first = replace(BASE, defences=(Clip(norm=0.5),))
    found = accuracy_with(task, first, RelativeNoise(scale=2.0), n_rounds=2, seeds=(0,))
    assert np.array_equal(found, accuracy_with(task, both, n_rounds=2, seeds=(0,)))


def test_hiding_everything_costs_everything_and_nothing_nothing(make_task: MakeTask) -> None:
    task = make_task()
    before = flatten(state_of(task.net).parameters)
    plain, loud, weak, cut = (
        accuracy_with(task, one, *defences, n_rounds=4, seeds=range(2))
        for one, defences in [
            (BASE, ()),
            (BASE, (RelativeNoise(scale=100.0),)),
            (BASE, (RelativeNoise(scale=1e-6),)),
            (replace(BASE, engine=DefendedClients(defence=Soteria(share=0.02))), ()),
        ]
    )
    assert plain.shape == (2,)
    assert (plain > 0.7).all()
    assert (loud < 0.5).all()
    assert np.abs(weak - plain).max() <= 0.004
    assert (cut > 0.5).all() and not np.array_equal(cut, plain)
    assert torch.equal(flatten(state_of(task.net).parameters), before)


def test_a_diverging_training_gets_the_accuracy_of_what_is_left(make_task: MakeTask) -> None:
    def explode(update: Update, generator: torch.Generator) -> Update:
        return replace(update, tensors={k: 1e25 * v for k, v in update.tensors.items()})

    found = accuracy_with(make_task(), BASE, explode, n_rounds=4, seeds=(0,))
    assert 0 <= found[0] <= 0.6


@pytest.mark.parametrize(("n_rounds", "seeds"), [(0, (0,)), (2, ())])
def test_no_rounds_and_no_seeds_are_refused(
    make_task: MakeTask, n_rounds: int, seeds: tuple[int, ...]
) -> None:
    with pytest.raises(SettingsError, match="at least one of each"):
        accuracy_with(make_task(), BASE, n_rounds=n_rounds, seeds=seeds)
