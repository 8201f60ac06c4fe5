"""Our ClientApp trains by the message alone, in any process, on what the client holds."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from torch.testing import assert_close

from fedsec.core.functional import state_of
from fedsec.errors import DataError, SettingsError
from fedsec.federated.engines import one_by_one
from fedsec.federated.flower import InProcessGrid, to_arrays, to_client_app, to_state
from fedsec.federated.flower.client import client_number
from fedsec.federated.local import ClientSteps, GlobalSteps, LocalTraining, Plan
from fedsec.federated.task import Task

MakeTask = Callable[..., Task]
LOCAL = LocalTraining(batch=16, lr=0.1, momentum=0.9, schedule=ClientSteps(1, 0.5))


def trained(app: ClientApp, task: Task, n: int, client: int, **config: int) -> Message:
    """The reply to one train message."""
    named = {name.replace("_", "-"): value for name, value in config.items()}
    content = RecordDict({"arrays": to_arrays(state_of(task.net)), "config": ConfigRecord(named)})
    (reply,) = InProcessGrid(app, n).send_and_receive([Message(content, client, "train")])
    return reply


def arrays_of(reply: Message) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in reply.content["arrays"].items()}


def test_a_client_does_its_plan_for_the_round_and_the_times_it_is_told(make_task: MakeTask) -> None:
    task = make_task("mlp", 6)
    reply = trained(to_client_app(task, LOCAL, seed=3), task, 6, 4, server_round=5, times_chosen=2)
    steps = Plan(LOCAL, task.parts[4], seed=3, number=5, client=4, times=2)
    (expected,) = one_by_one(task.net, state_of(task.net), task.train, [steps], LOCAL, 5)
    before, after = state_of(task.net).parameters, arrays_of(reply)
    for name, delta in expected.update.tensors.items():
        np.testing.assert_array_equal(after[name], (before[name] + delta).numpy())
    metrics = reply.content["metrics"]
    assert metrics["num-examples"] == len(task.parts[4])
    assert (metrics["loss"], metrics["loss-rms"]) == (expected.loss, expected.loss_rms)


def test_a_client_that_holds_its_own_data_alone_does_the_same(make_task: MakeTask) -> None:
    """As in a real deployment: the function gives a task of one part."""
    whole = make_task("mlp", 6)

    def own(client: int) -> Task:
        mine = whole.train.subset(whole.parts[client])
        return Task(whole.net, mine, (np.arange(len(mine)),), mine, 10)

    tasks: list[Any] = [whole, lambda client: whole, own]
    replies = [
        trained(to_client_app(task, LOCAL, seed=0), whole, 6, 2, server_round=1, times_chosen=0)
        for task in tasks
    ]
    for other in replies[1:]:
        for name, value in arrays_of(replies[0]).items():
            np.testing.assert_array_equal(value, arrays_of(other)[name])


def test_a_strategy_that_does_not_send_the_times_serves_where_they_make_no_difference(
    make_task: MakeTask,
) -> None:
    task = make_task("linear", 4)
    by_times = to_client_app(task, LOCAL, seed=0)
    assert not trained(by_times, task, 4, 0, server_round=1).has_error()
    reason = trained(by_times, task, 4, 0, server_round=2).error.reason
    assert "client 0, round 2: its learning rate depends on how often" in str(reason)
    by_rounds = to_client_app(task, LocalTraining(schedule=GlobalSteps(1, 0.5)), seed=0)
    assert not trained(by_rounds, task, 4, 0, server_round=2).has_error()


def test_what_a_message_lacks_is_said(make_task: MakeTask) -> None:
    task = make_task("linear", 4)
    app = to_client_app(task, LOCAL, seed=0)
    assert "client 3: server-round is None" in str(trained(app, task, 4, 3).error.reason)
    beyond = trained(app, task, 5, 4, server_round=1).error.reason
    assert "client 4 of a task of 4: start 4 nodes" in str(beyond)
    (bare,) = InProcessGrid(app, 4).send_and_receive([Message(RecordDict(), 0, "train")])
    assert "0 records of config" in str(bare.error.reason)


def test_arrays_of_another_network_are_refused(make_task: MakeTask) -> None:
    like = state_of(make_task("linear").net)
    arrays = to_arrays(like)
    assert_close(to_state(arrays, like).parameters, like.parameters, rtol=0, atol=0)
    with pytest.raises(DataError, match="not those of the network: more only in one"):
        to_state(ArrayRecord({**arrays, "more": Array(np.zeros(1))}), like)
    name = next(iter(arrays))
    with pytest.raises(DataError, match=rf"'{name}' is \(1,\), where the network has \(10, 64\)"):
        to_state(ArrayRecord({**arrays, name: Array(np.zeros(1))}), like)


def test_whole_numbers_of_which_a_mean_was_taken_are_rounded(make_task: MakeTask) -> None:
    like = state_of(make_task("cnn-bn").net)
    arrays = to_arrays(like)
    name = next(name for name, value in like.buffers.items() if not value.is_floating_point())
    arrays[name] = Array(np.asarray(2.6))
    found = to_state(arrays, like).buffers[name]
    assert found.item() == 3 and found.dtype == like.buffers[name].dtype


def nowhere(client: int) -> Task:
    raise AssertionError("pickling an app must not make its task")


def test_an_app_with_a_function_is_sent_to_ray_without_its_data() -> None:
    """Ray gets the app with every message, by cloudpickle."""
    cloudpickle = pytest.importorskip("ray.cloudpickle")
    sent = cloudpickle.dumps(to_client_app(nowhere, LOCAL, seed=0))
    assert len(sent) < 30_000
    assert isinstance(pickle.loads(sent), ClientApp)


def test_a_node_that_does_not_say_which_client_it_is_is_told_how() -> None:
    context = Context(1, 5, {}, RecordDict(), {})
    with pytest.raises(SettingsError, match="start it with --node-config 'partition-id=0"):
        client_number(context)
