"""Flower's own strategies and anyone's ClientApp run in this process, and fail as in Flower."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg, FedMedian
from numpy.testing import assert_allclose

from fedsec.errors import SettingsError
from fedsec.federated.flower import InProcessGrid, run_in_process
from fedsec.federated.flower.private import RAISED, UNAVAILABLE
from tests.fedsec.federated.flower.runs import adding_app, zeros

Handler = Callable[[Message, Context], RecordDict]


def app_of(handler: Handler) -> ClientApp:
    """A ClientApp whose train handler replies what a function gives."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        return Message(handler(message, context), reply_to=message)

    return app


def asked(grid: Grid, *nodes: int, **config: int) -> list[Message]:
    """Replies to a train message to each of these nodes, all of which share one content."""
    content = RecordDict({"arrays": zeros(), "config": ConfigRecord({**config, "list": [1, 2]})})
    return list(grid.send_and_receive([Message(content, node, "train") for node in nodes]))


def value(arrays: ArrayRecord | None) -> float:
    """Of a model whose entries are all the same."""
    assert arrays is not None
    found = {float(v) for array in arrays.values() for v in array.numpy().flat}
    assert len(found) == 1
    return found.pop()


def test_stock_strategies_run_a_plain_client_app() -> None:
    """Means of 1, 2, 3, 4 with weights 1, 2, 3, 4; the median is 2.5."""
    for strategy, step in ((FedAvg(), 3.0), (FedMedian(), 2.5)):
        strategy.fraction_evaluate = 0.0
        result = strategy.start(InProcessGrid(adding_app(), 4), zeros(), num_rounds=3)
        assert value(result.arrays) == pytest.approx(3 * step, abs=1e-6)


def test_a_client_that_raises_is_an_error_reply_and_the_others_go_on() -> None:
    def train(client: int, number: int) -> float:
        if client == 1 and number == 2:
            raise ValueError("the disk is full")
        return client + 1.0

    grid = InProcessGrid(adding_app(train), 3)
    good, bad = asked(grid, 0, 1, **{"server-round": 2})
    assert not good.has_error() and not bad.has_content()
    assert (bad.error.code, bad.error.reason) == (RAISED, "ValueError: the disk is full")
    assert (bad.metadata.src_node_id, bad.metadata.message_type) == (1, "train")
    result = FedAvg(fraction_evaluate=0.0).start(grid, zeros(), num_rounds=2)
    assert value(result.arrays) == pytest.approx(14 / 6 + 10 / 4, abs=1e-6)


def test_a_handler_that_is_missing_or_gives_no_message_is_an_error_reply() -> None:
    (missing,) = asked(InProcessGrid(ClientApp(), 1), 0)
    assert "No train function" in str(missing.error.reason)
    app = ClientApp()
    app.train()(lambda message, context: None)  # type: ignore[arg-type, return-value]
    (none,) = asked(InProcessGrid(app, 1), 0)
    assert none.error.reason == "TypeError: the ClientApp gave NoneType, not a Message"


def test_a_node_that_is_not_there_is_unavailable() -> None:
    (reply,) = asked(InProcessGrid(adding_app(), 3), 3)
    assert reply.error.code == UNAVAILABLE
    assert reply.error.reason == "there is no node 3: nodes are 0 to 2"


def test_nodes_are_numbered_and_know_their_partition_and_the_run() -> None:
    seen = []

    def handler(message: Message, context: Context) -> RecordDict:
        seen.append((context.node_id, dict(context.node_config), dict(context.run_config)))
        context.run_config["rate"] = 7  # for nobody else
        return RecordDict()

    grid = InProcessGrid(app_of(handler), 3, run_config={"rate": 0.5})
    assert list(grid.get_node_ids()) == [one.node_id for one in grid.get_nodes()] == [0, 1, 2]
    assert grid.run.run_id == 1
    asked(grid, 2, 0)
    assert seen == [
        (node, {"partition-id": node, "num-partitions": 3}, {"rate": 0.5}) for node in (2, 0)
    ]
    with pytest.raises(SettingsError, match="n_clients = 0: give at least 1"):
        InProcessGrid(ClientApp(), 0)


def test_a_client_may_change_its_message_and_nobody_else_sees_it() -> None:
    def handler(message: Message, context: Context) -> RecordDict:
        found = RecordDict({"metrics": MetricRecord({"n": len(message.content["arrays"])})})
        found["metrics"]["entries"] = len(message.content["config"]["list"])
        message.content["config"]["list"].clear()
        del message.content["arrays"]["a"]
        del message.content["arrays"]
        return found

    replies = asked(InProcessGrid(app_of(handler), 3), 0, 1, 2)
    assert [dict(one.content["metrics"]) for one in replies] == [{"n": 2, "entries": 2}] * 3


def test_a_node_keeps_its_state_but_what_it_did_before_it_failed_is_lost() -> None:
    def handler(message: Message, context: Context) -> RecordDict:
        times = context.state.get("times", MetricRecord({"n": 0}))
        context.state["times"] = MetricRecord({"n": times["n"] + 1})
        if message.content["config"].get("fails"):
            raise RuntimeError
        return RecordDict({"times": context.state["times"]})

    grid = InProcessGrid(app_of(handler), 2)
    asked(grid, 0, 0, 1)
    asked(grid, 0, fails=1)
    times = [one.content["times"]["n"] for one in asked(grid, 0, 1)]
    assert times == [3, 2]


def test_pushed_messages_are_pulled_once_in_any_order() -> None:
    grid = InProcessGrid(adding_app(), 3)
    content = RecordDict({"arrays": zeros(), "config": ConfigRecord({"server-round": 1})})
    sent = [Message(content, node, "train") for node in (2, 0)]
    ids = list(grid.push_messages(sent))
    assert ids == [one.metadata.message_id for one in sent] and len(set(ids)) == 2
    replies = list(grid.pull_messages(reversed(ids)))
    assert [one.metadata.src_node_id for one in replies] == [0, 2]
    assert [one.metadata.reply_to_message_id for one in replies] == ids[::-1]
    assert list(grid.pull_messages(ids)) == []


def test_a_whole_project_runs_here() -> None:
    server, found = ServerApp(), {}

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        strategy = FedAvg(fraction_evaluate=0.0)
        rounds = int(context.run_config["rounds"])
        found["model"] = strategy.start(grid, zeros(), num_rounds=rounds).arrays

    run_in_process(server, adding_app(), 4, run_config={"rounds": 2})
    assert_allclose(value(found["model"]), 6, atol=1e-6)
    assert np.isfinite(value(found["model"]))


def test_an_app_of_the_older_interface_runs_here_too() -> None:
    """A NumPyClient under a strategy of flwr.server, which asks from several threads."""
    from flwr.client import NumPyClient
    from flwr.common import ndarrays_to_parameters, parameters_to_ndarrays
    from flwr.server import ServerAppComponents, ServerConfig
    from flwr.server.strategy import FedAvg as OldFedAvg

    class Adding(NumPyClient):
        def __init__(self, client: int) -> None:
            self.client = client

        def fit(self, parameters: list[np.ndarray], config: dict) -> tuple:
            return [value + self.client + 1 for value in parameters], self.client + 1, {}

    class Kept(OldFedAvg):
        def aggregate_fit(self, *given: object) -> tuple:
            found = super().aggregate_fit(*given)  # type: ignore[arg-type]
            models.append(parameters_to_ndarrays(found[0]))  # type: ignore[arg-type]
            return found

    models: list[list[np.ndarray]] = []
    start = ndarrays_to_parameters([np.zeros(3)])
    server = ServerApp(
        server_fn=lambda context: ServerAppComponents(
            strategy=Kept(initial_parameters=start, fraction_evaluate=0.0),
            config=ServerConfig(num_rounds=2),
        )
    )
    client = ClientApp(lambda context: Adding(int(context.node_config["partition-id"])).to_client())
    run_in_process(server, client, 4)
    assert_allclose(models[-1], [np.full(3, 6.0)])
