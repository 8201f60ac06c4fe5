"""Our selectors choose in a Flower run as they do in `simulate`, and bad replies are named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAdam, FedAvg
from flwr.serverapp.strategy.result import Result
from numpy.testing import assert_array_equal
from torch.testing import assert_close

from fedsec.core.functional import state_of
from fedsec.errors import DataError, SettingsError, UpdateError
from fedsec.federated.contribution import Exact
from fedsec.federated.flower import (
    InProcessGrid,
    SelectorStrategy,
    to_arrays,
    to_client_app,
    to_state,
    to_strategy,
)
from fedsec.federated.local import ClientSteps, FullGradient, LocalTraining
from fedsec.federated.privacy import Clip, GaussianNoise
from fedsec.federated.rounds import Selector
from fedsec.federated.selectors import (
    Always,
    FedEmd,
    Oort,
    PowerOfChoice,
    RandomSelector,
    ShapleyWeighted,
    Tifl,
)
from fedsec.federated.simulate import Federation
from fedsec.federated.task import Task
from tests.fedsec.federated.flower.runs import (
    adding_app,
    assert_same_run,
    in_process,
    simulated,
    zeros,
)

MakeTask = Callable[..., Task]
LOCAL = LocalTraining(batch=16, lr=0.1, momentum=0.5, prox=0.01, schedule=ClientSteps(1, 0.5))


@pytest.mark.parametrize(
    "selector",
    [
        RandomSelector(),
        FedEmd(alpha=5.0),
        PowerOfChoice(),
        Tifl(interval=2),
        Oort(),
        ShapleyWeighted(),
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_run_is_that_of_simulate(make_task: MakeTask, selector: Selector) -> None:
    """With a rate that falls by a client's own rounds; `simulate` trains clients side by side."""
    task = make_task("mlp", 8, (1,))
    federation = Federation(
        per_round=3, local=LOCAL, selector=selector, seed=4,
        contribution=Exact() if isinstance(selector, ShapleyWeighted) else None,
    )  # fmt: skip
    assert_same_run(in_process(task, federation, 4), simulated(task, federation, 4))


@pytest.mark.parametrize(
    "other",
    [
        {"net": "cnn-bn"},
        {"local": FullGradient(lr=0.3)},
        {"defences": (Clip(norm=0.05), GaussianNoise(multiplier=0.01))},
    ],
    ids=["batch normalisation", "full gradient", "defences"],
)
def test_so_it_is_with_buffers_gradients_and_defences(
    make_task: MakeTask, other: dict[str, Any]
) -> None:
    task = make_task(other.pop("net", "mlp"), 12)
    federation = replace(Federation(per_round=2, local=LocalTraining(), seed=1), **other)
    assert_same_run(in_process(task, federation, 2), simulated(task, federation, 2))


def test_one_local_step_of_everybody_is_flowers_own_fed_avg(make_task: MakeTask) -> None:
    """Flower chooses and averages here; only the clients are ours."""
    task = make_task("cnn", 10)
    local = LocalTraining(batch=max(map(len, task.parts)), lr=0.2)
    federation = Federation(per_round=10, local=local)
    grid = InProcessGrid(to_client_app(task, local, seed=0), 10)
    strategy = FedAvg(fraction_evaluate=0.5)
    result = strategy.start(grid, to_arrays(state_of(task.net)), 3)
    other = simulated(task, federation, 3)
    state = to_state(result.arrays, state_of(task.net))
    assert_close(state.parameters, other.state.parameters, rtol=0, atol=1e-6)
    assert 0 < float(result.evaluate_metrics_clientapp[3]["accuracy"]) <= 1
    assert_same_run(in_process(task, federation, 3), other)


def test_the_same_run_twice_is_bit_equal_and_a_continued_one_is_the_uninterrupted(
    make_task: MakeTask,
) -> None:
    task = make_task("mlp", 8)
    federation = Federation(per_round=3, local=LOCAL, selector=PowerOfChoice(), seed=2)
    (whole, state), (_, again) = (in_process(task, federation, 4) for _ in range(2))
    assert_close(state.parameters, again.parameters, rtol=0, atol=0)
    half, state_then = in_process(task, federation, 2)
    then = to_strategy(PowerOfChoice(), n_clients=8, per_round=3, seed=2, rounds=half.rounds)
    grid = InProcessGrid(to_client_app(task, LOCAL, seed=2), 8)
    result = then.start(grid, to_arrays(state_then), 2)
    resumed = to_state(result.arrays, state)
    assert_close(resumed.parameters, state.parameters, rtol=0, atol=0)
    assert [one.number for one in then.rounds] == [1, 2, 3, 4]
    for one, two in zip(whole.rounds, then.rounds, strict=True):
        assert_array_equal(one.chosen, two.chosen)


def started(app: ClientApp, n_rounds: int = 2, **settings: Any) -> tuple[SelectorStrategy, Result]:
    """A run of three plain clients, all of which are chosen."""
    settings = {"selector": Always(ids=(2, 0, 1)), "n_clients": 3, "per_round": 3} | settings
    n_nodes = settings.pop("n_nodes", 3)
    strategy = to_strategy(**settings)
    return strategy, strategy.start(InProcessGrid(app, n_nodes), zeros(), n_rounds)


def test_a_plain_client_app_needs_but_to_tell_its_labels() -> None:
    strategy, result = started(adding_app())
    assert result.arrays["a"].numpy()[0, 0] == pytest.approx(2 * 14 / 6)
    assert_array_equal(strategy.counts, [[1, 1], [2, 1], [3, 1]])
    first = strategy.rounds[0]
    assert first.chosen.tolist() == [2, 0, 1] and first.n.tolist() == [3, 1, 2]
    assert np.isnan([first.loss, first.loss_rms, first.seconds]).all()


def nan_at_two(client: int, number: int) -> float:
    return float("nan") if (client, number) == (1, 2) else client + 1.0


def raising_at_two(client: int, number: int) -> float:
    if (client, number) == (1, 2):
        raise MemoryError("no room")
    return client + 1.0


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (nan_at_two, "client 1, round 2: 6 of 6 entries of 'a' are not finite"),
        (raising_at_two, "client 1, round 2: it failed: MemoryError: no room"),
    ],
)
def test_a_bad_update_is_refused_by_name_or_left_out(
    train: Callable[[int, int], float], message: str
) -> None:
    with pytest.raises(UpdateError, match=message):
        started(adding_app(train))
    strategy, result = started(adding_app(train), skip_bad_updates=True)
    assert [one.refused for one in strategy.rounds] == [(), (1,)]
    assert result.arrays["b"].numpy()[0, 0] == pytest.approx(14 / 6 + 10 / 4)
    assert strategy.rounds[1].n.tolist() == [3, 1, 2 if train is nan_at_two else 0]


def test_a_round_of_bad_updates_alone_leaves_the_model() -> None:
    app = adding_app(lambda client, number: float("inf") if number == 2 else 1.0)
    strategy, result = started(app, n_rounds=3, skip_bad_updates=True)
    assert strategy.rounds[1].refused == (2, 0, 1)
    assert result.arrays["a"].numpy()[0, 0] == pytest.approx(2)


def test_a_client_that_does_not_reply_is_refused() -> None:
    class Losing(InProcessGrid):
        def pull_messages(self, message_ids: Any) -> list[Message]:
            found = super().pull_messages(message_ids)
            return [
                one
                for one in found
                if one.metadata.message_type != "train" or one.metadata.src_node_id != 0
            ]

    strategy = to_strategy(Always(ids=(1, 0)), n_clients=2, per_round=2)
    with pytest.raises(UpdateError, match="client 0, round 1: it did not reply"):
        strategy.start(Losing(adding_app(), 2), zeros(), 1)


def told(counts: Callable[[int], list[int]]) -> ClientApp:
    return adding_app(told=counts)


@pytest.mark.parametrize(
    ("app", "message"),
    [
        (ClientApp(), "node 0 does not tell .* No query function.*report_label_counts"),
        (told(lambda client: [0, 0]), r"client 0 tells label counts \[0, 0\]: it needs a sample"),
        (told(lambda client: [3, -1]), r"client 0 tells label counts \[3, -1\]"),
        (told(lambda client: [1] * (client + 1)), r"clients count \[1, 2, 3\] classes"),
    ],
)
def test_clients_that_do_not_tell_their_labels_are_named(app: ClientApp, message: str) -> None:
    with pytest.raises(DataError, match=message):
        started(app)


def test_nodes_must_be_as_many_as_said_and_have_a_partition_each() -> None:
    with pytest.raises(DataError, match="4 nodes are connected, where the strategy is for 3"):
        started(adding_app(), n_nodes=4)
    with pytest.raises(DataError, match="2 nodes are connected, where the strategy is for 3"):
        started(adding_app(), n_nodes=2, patience=0.3)
    app = ClientApp()

    @app.query("label_counts")
    def query(message: Message, context: Context) -> Message:
        metrics = MetricRecord({"client": 1, "counts": [1, 1]})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    with pytest.raises(DataError, match="node 1 says that it is client 1: .* 0 to 2, one each"):
        started(app)


def test_a_probe_that_fails_is_named() -> None:
    settings = {"selector": PowerOfChoice(), "per_round": 1}
    with pytest.raises(DataError, match="client ., round 1: it does not answer the probe"):
        started(adding_app(), **settings)
    app = adding_app()

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        metrics = MetricRecord({"eval_loss": 1.0, "num-examples": 1})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    with pytest.raises(DataError, match="gives eval_loss, num-examples, .* loss and accuracy"):
        started(app, **settings)


def test_settings_that_cannot_be_are_refused() -> None:
    for per_round in (0, 4):
        with pytest.raises(SettingsError, match=f"{per_round} clients a round of 3: take 1 to 3"):
            to_strategy(RandomSelector(), n_clients=3, per_round=per_round)
    with pytest.raises(SettingsError, match="ShapleyWeighted selects by contribution"):
        to_strategy(ShapleyWeighted(), n_clients=3, per_round=2)
    for inner in (FedAvg(fraction_train=0.5, min_train_nodes=1), FedAvg(min_train_nodes=3)):
        with pytest.raises(SettingsError, match="samples among the 2 chosen clients"):
            to_strategy(RandomSelector(), n_clients=3, per_round=2, inner=inner)


def test_another_strategy_may_average_and_evaluate(make_task: MakeTask) -> None:
    task = make_task("linear", 6)
    inner = FedAdam(fraction_evaluate=1.0, eta=0.05)
    strategy = to_strategy(FedEmd(), n_clients=6, per_round=2, inner=inner)
    grid = InProcessGrid(to_client_app(task, LocalTraining(), seed=0), 6)
    result = strategy.start(grid, to_arrays(state_of(task.net)), 4)
    losses = [float(result.evaluate_metrics_clientapp[k]["loss"]) for k in (1, 4)]
    assert losses[1] < losses[0]


def test_an_inner_strategy_that_passes_chosen_clients_over_is_refused() -> None:
    class Fewer(FedAvg):
        def configure_train(self, *given: Any) -> list[Message]:
            return list(super().configure_train(*given))[:1]

    with pytest.raises(SettingsError, match="round 1: the inner strategy asks 1 of the 3 chosen"):
        started(adding_app(), inner=Fewer(fraction_evaluate=0.0))
