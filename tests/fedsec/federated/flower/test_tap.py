"""A tap records what was sent and changes nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from torch.testing import assert_close

from fedsec.core.functional import State, state_of
from fedsec.core.record import Update
from fedsec.errors import DataError, UpdateError
from fedsec.federated.flower import InProcessGrid, UpdateTap, read_model, read_updates
from fedsec.federated.local import LocalTraining
from fedsec.federated.simulate import Federation, begin, simulate
from fedsec.federated.task import Task
from tests.fedsec.federated.flower.runs import adding_app, in_process, zeros

MakeTask = Callable[..., Task]


def test_a_run_with_a_tap_is_bit_equal_and_records_what_the_server_of_simulate_sees(
    make_task: MakeTask, tmp_path: Path
) -> None:
    task = make_task("cnn-bn", 12)
    federation = Federation(per_round=2, local=LocalTraining(epochs=2), seed=5)
    buffers = [name for name, _ in task.net.named_buffers()]
    (_, plain), (_, tapped) = (
        in_process(task, federation, 2, wrap)
        for wrap in (lambda grid: grid, lambda grid: UpdateTap(grid, tmp_path, buffers=buffers))
    )
    assert_close(tapped.parameters, plain.parameters, rtol=0, atol=0)
    assert_close(tapped.buffers, plain.buffers, rtol=0, atol=0)

    seen: list[tuple[State, Update]] = []
    start = begin(task, federation, state_of(task.net))

    def observe(state: State, updates: Sequence[Update]) -> None:
        seen.extend((state, one) for one in updates)

    list(simulate(task, federation, start, 2, observe=observe))
    seen.sort(key=lambda pair: (pair[1].round, pair[1].client))
    recorded = list(read_updates(tmp_path))
    assert len(recorded) == len(seen) == 4
    for found, (state, update) in zip(recorded, seen, strict=True):
        about = [(one.kind, one.round, one.client, one.n) for one in (found, update)]
        assert about[0] == about[1]
        assert list(found.tensors) == list(update.tensors)
        assert_close(found.tensors, update.tensors, rtol=0, atol=1e-6)
        assert_close(found.buffers, update.buffers, rtol=0, atol=1e-6)
        sent = read_model(tmp_path, found.round, found.client)
        expected = {**state.parameters, **state.buffers}  # Flower makes means of whole numbers
        assert_close(sent, expected, rtol=0, atol=1e-6, check_dtype=False)


def test_a_stock_run_is_recorded_in_files_by_round_and_client(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "first"
    grid = UpdateTap(InProcessGrid(adding_app(), 3), folder)
    FedAvg(fraction_evaluate=0.0).start(grid, zeros(), num_rounds=2)
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*")) == [
        f"round-000{k}/{name}.safetensors"
        for k in (1, 2)
        for name in ("client-0", "client-1", "client-2", "model")
    ]
    for number, update in zip((1, 1, 1, 2, 2, 2), read_updates(folder), strict=True):
        assert update.round == number and update.n == update.client + 1
        assert_close(update.tensors["a"], torch.full((2, 3), update.client + 1.0))
    assert_close(read_model(folder, 2, 0)["b"], torch.full((2, 3), 14 / 6))
    with pytest.raises(DataError, match="holds a recording already: give another folder"):
        UpdateTap(grid, folder)


def sent(grid: Grid, models: dict[int, ArrayRecord]) -> None:
    """One train message to each node, by push and pull."""
    config = ConfigRecord({"server-round": 1})
    messages = [
        Message(RecordDict({"arrays": model, "config": config}), node, "train")
        for node, model in models.items()
    ]
    list(grid.pull_messages(grid.push_messages(messages)))


def test_a_client_that_is_sent_another_model_has_it_beside_its_update(tmp_path: Path) -> None:
    other = ArrayRecord({name: Array(np.ones((2, 3), np.float32)) for name in ("a", "b")})
    tap = UpdateTap(InProcessGrid(adding_app(), 3), tmp_path)
    sent(tap, {0: zeros(), 1: other, 2: zeros()})
    assert [read_model(tmp_path, 1, client)["a"].mean() for client in range(3)] == [0, 1, 0]
    assert [one.tensors["a"].mean() for one in read_updates(tmp_path)] == [1, 2, 3]
    assert len(list(tmp_path.glob("round-0001/model*"))) == 2


def test_a_client_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def train(client: int, number: int) -> float:
        return client / (client - 1)

    tap = UpdateTap(InProcessGrid(adding_app(train), 3), tmp_path)
    FedAvg(fraction_evaluate=0.0).start(tap, zeros(), num_rounds=1)
    assert [one.client for one in read_updates(tmp_path)] == [0, 2]


def test_rounds_are_counted_where_nobody_tells_them(tmp_path: Path) -> None:
    """By the group of a message, as older strategies have it, else by calls."""
    app = adding_app(lambda client, number: 1.0)
    for folder, groups, expected in (
        (tmp_path / "calls", ("", ""), [1, 2]),
        (tmp_path / "groups", ("7", "9"), [7, 9]),
    ):
        tap = UpdateTap(InProcessGrid(app, 1), folder)
        for group in groups:
            config = ConfigRecord({"server-round": "unknown"})
            content = RecordDict({"arrays": zeros(), "config": config})
            list(tap.send_and_receive([Message(content, 0, "train", group_id=group)]))
        found = sorted(int(path.name[-4:]) for path in folder.iterdir())
        assert found == expected


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no recording of updates"):
        list(read_updates(tmp_path))
    (tmp_path / "round-0001").mkdir()
    (tmp_path / "round-0001" / "client-0.safetensors").write_text("no")
    with pytest.raises(UpdateError, match="client-0.safetensors: not an update"):
        list(read_updates(tmp_path))
    with pytest.raises(DataError, match="no model of round 3 can be read"):
        read_model(tmp_path, 3, 0)


def test_all_else_of_a_grid_is_as_it_was(tmp_path: Path) -> None:
    grid = InProcessGrid(adding_app(), 2)
    tap = UpdateTap(grid, tmp_path)
    assert list(tap.get_node_ids()) == [0, 1] and tap.run == grid.run
    other = dataclasses.replace(grid.run, run_id=9)
    tap.set_run(other)
    assert tap.run == grid.run == other
    message = tap.create_message(RecordDict(), "query.label_counts", 1, "group")
    (reply,) = tap.send_and_receive([message])
    assert reply.content["metrics"]["counts"] == [2, 1] and not list(tmp_path.iterdir())


def test_a_reply_that_does_not_tell_its_samples_has_none(tmp_path: Path) -> None:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        return Message(RecordDict({"arrays": message.content["arrays"]}), reply_to=message)

    sent(UpdateTap(InProcessGrid(app, 1), tmp_path), {0: zeros()})
    (update,) = read_updates(tmp_path)
    assert update.n == 0 and not update.tensors["a"].any()
