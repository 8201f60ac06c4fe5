"""Both engines do what torch.optim does, step by step, and give the same updates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from fedsec.core.functional import State, load_state, state_of
from fedsec.data.images import Images
from fedsec.errors import SettingsError
from fedsec.federated.engines import Engine, Local, engine_for, one_by_one, side_by_side
from fedsec.federated.local import ClientSteps, FullGradient, LocalTraining, Plan
from fedsec.federated.task import Task

MakeTask = Callable[..., Task]
ENGINES = [one_by_one, side_by_side]


def plans_of(task: Task, local: Local, clients: Sequence[int]) -> list[Plan]:
    """Clients that took part as often as their number says."""
    return [Plan(local, task.parts[k], seed=0, number=1, client=k, times=k) for k in clients]


def exact(task: Task) -> Task:
    """The task in double precision."""

    def double(images: Images) -> Images:
        return Images(images.x.double(), images.y)

    net = task.net.double()
    return Task(net, double(task.train), task.parts, double(task.test), task.n_classes)


def by_torch(
    task: Task, state: State, steps: Plan, local: LocalTraining
) -> dict[str, torch.Tensor]:
    """The update of a client by torch.optim.SGD, written as everybody writes it."""
    net = load_state(task.net, state).train()
    received = [value.detach().clone() for value in net.parameters()]
    optimiser = torch.optim.SGD(
        net.parameters(), lr=steps.lr, momentum=local.momentum, weight_decay=local.weight_decay
    )
    for batch in steps.batches:
        ids = torch.from_numpy(batch[batch >= 0])
        optimiser.zero_grad()
        loss = cross_entropy(net(task.train.x[ids]), task.train.y[ids])
        for value, start in zip(net.parameters(), received, strict=True):
            loss = loss + local.prox / 2 * ((value - start) ** 2).sum()
        loss.backward()
        optimiser.step()
    return {
        name: value.detach() - start
        for (name, value), start in zip(net.named_parameters(), received, strict=True)
    }


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("net", ["linear", "mlp", "cnn", "cnn-gn"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"momentum": 0.9, "weight_decay": 0.01},
        {"prox": 0.5, "momentum": 0.5},
        {"schedule": ClientSteps(1, 0.5), "momentum": 0.5},
    ],
    ids=["plain", "momentum-decay", "prox", "own-rates"],
)
def test_an_engine_is_sgd(
    make_task: MakeTask, engine: Engine, net: str, settings: dict[str, float]
) -> None:
    task = exact(make_task(net, 20, (1,)))
    local = LocalTraining(epochs=2, batch=16, lr=0.05, **settings)
    plans, state = plans_of(task, local, [3, 0, 5]), state_of(task.net)
    trained = engine(task.net, state, task.train, plans, local, 1)
    for one, steps in zip(trained, plans, strict=True):
        assert (one.update.client, one.update.n) == (steps.client, steps.n)
        assert_close(one.update.tensors, by_torch(task, state, steps, local), rtol=0, atol=1e-12)


@pytest.mark.parametrize("net", ["mlp", "cnn"])
def test_loop_and_vmap_agree_in_single_precision(make_task: MakeTask, net: str) -> None:
    task = make_task(net, 20, (1,))
    local = LocalTraining(epochs=3, batch=8, lr=0.05, momentum=0.5)
    plans, state = plans_of(task, local, range(8)), state_of(task.net)
    one, two = (engine(task.net, state, task.train, plans, local, 1) for engine in ENGINES)
    for mine, other in zip(one, two, strict=True):
        assert_close(mine.update.tensors, other.update.tensors, rtol=0, atol=1e-6)
        assert mine.loss == pytest.approx(other.loss, rel=1e-5)
        assert mine.loss_rms == pytest.approx(other.loss_rms, rel=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_gradient_is_that_of_the_mean_loss(make_task: MakeTask, engine: Engine) -> None:
    task = make_task("cnn", 20, (1,))
    plans, state = plans_of(task, FullGradient(), [0, 4]), state_of(task.net)
    trained = engine(task.net, state, task.train, plans, FullGradient(), 1)
    for one, steps in zip(trained, plans, strict=True):
        mine = task.train.subset(task.parts[steps.client])
        task.net.zero_grad()
        losses = cross_entropy(task.net(mine.x), mine.y, reduction="none")
        losses.mean().backward()
        assert one.update.kind == "gradient"
        for name, value in task.net.named_parameters():
            assert value.grad is not None
            assert_close(one.update.tensors[name], value.grad, rtol=0, atol=1e-6)
        assert one.loss == pytest.approx(losses.mean().item(), rel=1e-5)
        assert one.loss_rms == pytest.approx(losses.square().mean().sqrt().item(), rel=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_that_goes_in_is_changed(make_task: MakeTask, engine: Engine) -> None:
    task, local = make_task("cnn"), LocalTraining(momentum=0.9)
    state = state_of(task.net)
    before, images = state.clone(), task.train.x.clone()
    engine(task.net, state, task.train, plans_of(task, local, [0, 1]), local, 1)
    assert_close(state.parameters, before.parameters, rtol=0, atol=0)
    assert_close(state_of(task.net).parameters, before.parameters, rtol=0, atol=0)
    assert torch.equal(task.train.x, images)


def test_who_trains_beside_a_client_does_not_matter(make_task: MakeTask) -> None:
    task, local = make_task("mlp", 20, (1,)), LocalTraining(batch=4)
    state = state_of(task.net)
    alone = side_by_side(task.net, state, task.train, plans_of(task, local, [5]), local, 1)
    among = side_by_side(task.net, state, task.train, plans_of(task, local, [0, 5, 2]), local, 1)
    assert_close(alone[0].update.tensors, among[1].update.tensors, rtol=0, atol=1e-6)


def test_batch_normalisation_goes_one_by_one_and_its_buffers_come_back(make_task: MakeTask) -> None:
    task, local = make_task("cnn-bn"), LocalTraining(batch=8, lr=0.05)
    assert engine_for(task.net) is one_by_one
    assert engine_for(make_task("cnn").net) is side_by_side
    state = state_of(task.net)
    plans = plans_of(task, local, [0])
    with pytest.raises(SettingsError, match="group normalisation"):
        side_by_side(task.net, state, task.train, plans, local, 1)
    (one,) = one_by_one(task.net, state, task.train, plans, local, 1)
    expected = by_torch(task, state, plans[0], local)
    assert_close(one.update.tensors, expected, rtol=0, atol=1e-6)
    assert_close(one.update.buffers, state_of(task.net).buffers, rtol=1e-5, atol=1e-6)
    assert isinstance(task.net, nn.Module)


def test_the_same_round_twice_is_bit_equal(make_task: MakeTask) -> None:
    task, local = make_task("cnn", 20, (1,)), LocalTraining(batch=8, momentum=0.5)
    plans, state = plans_of(task, local, range(6)), state_of(task.net)
    for engine in ENGINES:
        one, two = (engine(task.net, state, task.train, plans, local, 1) for _ in range(2))
        for mine, other in zip(one, two, strict=True):
            assert_close(mine.update.tensors, other.update.tensors, rtol=0, atol=0)
            assert np.isfinite(mine.seconds)


def test_tied_weights_stay_tied_side_by_side(make_task: MakeTask) -> None:
    task = exact(make_task("linear", 20, (1,)))
    inner = nn.Linear(64, 64).double()
    task = replace(
        task, net=nn.Sequential(nn.Flatten(), inner, nn.Tanh(), inner, nn.Linear(64, 10)).double()
    )
    local, state = LocalTraining(batch=16, lr=0.05), state_of(task.net)
    plans = plans_of(task, local, [0, 1, 2])
    ours, theirs = (
        engine(task.net, state, task.train, plans, local, 1)
        for engine in (side_by_side, one_by_one)
    )
    for one, other in zip(ours, theirs, strict=True):
        assert_close(dict(one.update.tensors), dict(other.update.tensors))
        assert one.update.tensors["1.weight"].abs().max() > 0
