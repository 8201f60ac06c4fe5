"""Clients that look at their own data do what they would do alone, in the simulator too."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from fedsec.core.functional import call, flatten, state_of
from fedsec.core.rng import torch_stream
from fedsec.federated.engines import Trained, one_by_one, side_by_side
from fedsec.federated.local import FullGradient, LocalTraining, Plan
from fedsec.federated.privacy import (
    DefendedClients,
    PrivateClients,
    PrivateSGD,
    Soteria,
    rdp,
    train_private,
)
from fedsec.federated.privacy.private_gradient import private_gradient
from fedsec.federated.simulate import Federation, begin, play
from fedsec.federated.task import Task

MakeTask = Callable[..., Task]
LOCAL = LocalTraining(lr=0.1, batch=16)
CLIENTS = (3, 8)
SETTINGS = PrivateSGD(lr=0.2, steps=3, sample_rate=0.2, norm=0.5)


@pytest.fixture
def task(make_task: MakeTask) -> Task:
    return make_task("mlp", n_clients=40)


def trained(task: Task, engine: object, local: LocalTraining | FullGradient) -> list[Trained]:
    """Some clients in round 2."""
    plans = [Plan(local, task.parts[k], seed=4, number=2, client=k, times=0) for k in CLIENTS]
    return engine(task.net, state_of(task.net), task.train, plans, local, 2)


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return list(first) == list(second) and torch.equal(flatten(first), flatten(second))


@pytest.mark.parametrize("engine", [None, one_by_one, side_by_side])
def test_every_client_cuts_by_its_own_images(task: Task, engine: object) -> None:
    plain = trained(task, engine or side_by_side, LOCAL)
    found = trained(task, DefendedClients(defence=Soteria(share=0.5), engine=engine), LOCAL)
    masks = []
    for client, before, after in zip(CLIENTS, plain, found, strict=True):
        x = task.train.subset(task.parts[client]).x
        own = Soteria(share=0.5)(task.net, state_of(task.net), x)
        masks.append(own.kept)
        assert same(after.update.tensors, own(before.update, torch_stream(0, "none")).tensors)
        assert (after.loss, after.loss_rms) == (before.loss, before.loss_rms)
        assert (after.update.client, after.update.round) == (client, 2)
    assert not torch.equal(*masks)


def test_private_clients_train_privately(task: Task) -> None:
    private = PrivateClients(settings=SETTINGS)
    for client, one in zip(CLIENTS, trained(task, private, LOCAL), strict=True):
        mine = task.train.subset(task.parts[client])
        expected, _ = train_private(
            task.net, state_of(task.net), mine.x, mine.y, torch_stream(4, "DP-SGD", 2, client),
            settings=SETTINGS, round=2, client=client, accountant=rdp,
        )  # fmt: skip
        assert same(one.update.tensors, expected.tensors)
        assert (one.update.kind, one.update.n) == ("delta", len(mine))
        losses = cross_entropy(call(task.net, state_of(task.net), mine.x), mine.y, reduction="none")
        assert one.loss == pytest.approx(float(losses.mean()), rel=1e-5)
        assert one.loss_rms == pytest.approx(float(losses.square().mean().sqrt()), rel=1e-5)


def test_where_gradients_are_sent_they_are_private_ones(task: Task) -> None:
    private = PrivateClients(settings=SETTINGS)
    for client, one in zip(CLIENTS, trained(task, private, FullGradient()), strict=True):
        mine = task.train.subset(task.parts[client])
        expected = private_gradient(
            task.net, state_of(task.net), mine.x, mine.y, torch_stream(4, "DP-SGD", 2, client),
            settings=SETTINGS, round=2, client=client,
        )  # fmt: skip
        assert one.update.kind == "gradient"
        assert same(one.update.tensors, expected.tensors)


@pytest.mark.parametrize("local", [LOCAL, FullGradient()], ids=["delta", "gradient"])
def test_a_federation_plays_with_them_and_again_the_same(
    task: Task, local: LocalTraining | FullGradient
) -> None:
    for engine in (DefendedClients(defence=Soteria()), PrivateClients(settings=SETTINGS)):
        federation = Federation(per_round=4, local=local, engine=engine)
        start = begin(task, federation, state_of(task.net))
        first, again = (play(task, federation, start, evaluated=True) for _ in range(2))
        other = play(task, replace(federation, seed=1), start)
        assert same(first.state.parameters, again.state.parameters)
        assert not same(first.state.parameters, other.state.parameters)
        assert not same(first.state.parameters, start.state.parameters)
        assert np.isfinite(first.rounds[-1].loss).all()
