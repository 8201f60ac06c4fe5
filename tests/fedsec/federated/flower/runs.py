"""The same federation by `simulate` and by Flower in this process, for the tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from numpy.testing import assert_allclose, assert_array_equal
from torch.testing import assert_close

from fedsec.core.functional import State, state_of
from fedsec.federated.contribution import Exact
from fedsec.federated.flower import (
    InProcessGrid,
    SelectorStrategy,
    contributions_on,
    report_label_counts,
    to_arrays,
    to_client_app,
    to_state,
    to_strategy,
)
from fedsec.federated.rounds import Round
from fedsec.federated.simulate import Federation, Progress, begin, simulate
from fedsec.federated.task import Task

Wrap = Callable[[Grid], Grid]


def simulated(task: Task, federation: Federation, n_rounds: int) -> Progress:
    """By `simulate`."""
    start = begin(task, federation, state_of(task.net))
    return list(simulate(task, federation, start, n_rounds))[-1]


def in_process(
    task: Task, federation: Federation, n_rounds: int, wrap: Wrap = lambda grid: grid, **more: Any
) -> tuple[SelectorStrategy, State]:
    """By `to_strategy` and `to_client_app` over an `InProcessGrid`."""
    app = to_client_app(task, federation.local, seed=federation.seed, defences=federation.defences)
    contribution = federation.contribution
    strategy = to_strategy(
        federation.selector, n_clients=task.n_clients, per_round=federation.per_round,
        seed=federation.seed,
        contribution=contributions_on(Exact(), task.net, task.test) if contribution else None,
        **more,
    )  # fmt: skip
    grid = wrap(InProcessGrid(app, task.n_clients))
    result = strategy.start(grid, to_arrays(state_of(task.net)), n_rounds)
    return strategy, to_state(result.arrays, state_of(task.net))


def assert_same_run(mine: tuple[SelectorStrategy, State], other: Progress) -> None:
    """Same rounds, and parameters equal to 1e-6."""
    strategy, state = mine
    assert len(strategy.rounds) == len(other.rounds)
    for one, two in zip(strategy.rounds, other.rounds, strict=True):
        assert_same_round(one, two)
    assert_close(state.parameters, other.state.parameters, rtol=0, atol=1e-6)
    assert_close(state.buffers, other.state.buffers, rtol=0, atol=1e-6)


def assert_same_round(one: Round, two: Round) -> None:
    """All but what is measured in seconds, and evaluation, which the strategy leaves to others."""
    assert one.number == two.number and one.refused == two.refused
    assert_array_equal(one.chosen, two.chosen)
    assert_array_equal(one.n, two.n)
    assert_allclose(one.loss, two.loss, atol=1e-5)
    assert_allclose(one.loss_rms, two.loss_rms, atol=1e-5)
    assert np.isfinite(one.seconds).all()
    assert list(one.probed) == list(two.probed)
    for client, probe in one.probed.items():
        assert_allclose(probe.loss, two.probed[client].loss, atol=1e-5)
    assert (one.contribution is None) == (two.contribution is None)
    if one.contribution is not None and two.contribution is not None:
        assert_allclose(one.contribution, two.contribution, atol=1e-5)


def adding_app(
    train: Callable[[int, int], float] = lambda client, number: client + 1.0,
    told: Callable[[int], list[int]] = lambda client: [client + 1, 1],
) -> ClientApp:
    """Client i adds a number to all arrays and says that it trained on i + 1 samples."""
    app = ClientApp()

    @app.train()
    def handle(message: Message, context: Context) -> Message:
        client = int(context.node_config["partition-id"])
        added = train(client, int(message.content["config"]["server-round"]))
        arrays = {
            name: Array(value.numpy() + np.float32(added))
            for name, value in message.content["arrays"].items()
        }
        metrics = MetricRecord({"num-examples": client + 1})
        content = RecordDict({"arrays": ArrayRecord(arrays), "metrics": metrics})
        return Message(content, reply_to=message)

    report_label_counts(
        app, lambda context: np.array(told(int(context.node_config["partition-id"])))
    )
    return app


def zeros() -> ArrayRecord:
    """A model of two arrays."""
    return ArrayRecord({name: Array(np.zeros((2, 3), np.float32)) for name in ("a", "b")})
