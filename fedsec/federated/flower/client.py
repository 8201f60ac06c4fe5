"""Our clients as a Flower ClientApp: the same plans and the same draws as in `simulate`.

Story       A train message brings the model, the number of the round, and how often this client
            took part before. They, the seed, and the client's number are all that its training
            depends on: nothing is kept between rounds, so any process may run any client.
Messages    train                 trains by the plan of this round; replies the new parameters
            evaluate              loss and accuracy of the model on the client's own data: a probe
            query.label_counts    which client this is, and how many samples of each class it holds
Gradients   A strategy averages models. So under `FullGradient` the client takes the server's step
            along its own gradient; the mean of such models is the model after the mean step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from jaxtyping import Int

from fedsec.core.functional import State, state_of
from fedsec.core.rng import torch_stream
from fedsec.data.images import Images
from fedsec.errors import DataError, SettingsError
from fedsec.federated.aggregate import apply_updates, by_samples
from fedsec.federated.engines import Local, Trained, one_by_one
from fedsec.federated.flower.records import (
    LABEL_COUNTS,
    ROUND,
    SAMPLES,
    TIMES,
    number_of,
    only,
    to_arrays,
    to_state,
)
from fedsec.federated.local import Plan, server_rate
from fedsec.federated.privacy import Defence, apply_defences
from fedsec.federated.task import Task


def to_client_app(
    task: Task | Callable[[int], Task],
    local: Local,
    *,
    seed: int,
    defences: tuple[Defence, ...] = (),
) -> ClientApp:
    """A ClientApp in which the client of number `partition-id` holds its part of the task.

    task       a task of all clients; or a function of the client's number that gives one, called
               for each message where the client runs. A function may give a task of one part, the
               client's own: in a real deployment nobody holds more. In a simulation on Ray, too,
               give a function, with a cache: a task would be copied to Ray with every message
    local      what a client does in a round
    seed       of the clients' streams; that of the strategy, to repeat a run of `simulate`
    defences   applied to what the client learned before it is sent, in this order

    A message that asks for what is not there, as a client that has no part, raises SettingsError
    or DataError, of which Flower makes an error reply.
    """
    clients, app = _Clients(task, local, seed, defences), ClientApp()
    app.train()(clients.train)
    app.evaluate()(clients.probe)
    report_label_counts(app, clients.counts)
    return app


def report_label_counts(
    app: ClientApp, counts: Callable[[Context], Int[np.ndarray, " class"]]
) -> None:
    """Let a ClientApp of your own tell `to_strategy` who it is and which labels it holds.

    `counts` gives the number of samples of each class that this node holds, of as many classes on
    every node. It is told once, before the first round, and it is private: it says which classes a
    client has, so who a Maverick is. What is told may be noised or rounded here, as long as no
    number is below 0 and not all are 0.
    """
    app.query(LABEL_COUNTS)(partial(_tell, counts))


def client_number(context: Context) -> int:
    """Which client this node is. Raises SettingsError where its node config does not say it."""
    try:
        return int(context.node_config["partition-id"])
    except (KeyError, ValueError) as error:
        raise SettingsError(
            "the node does not say which client it is: start it with --node-config"
            " 'partition-id=0 num-partitions=10', as flower-supernode takes it"
        ) from error


@dataclass(frozen=True, eq=False)
class _Clients:
    """The clients of a task, as Flower calls them. Nothing changes from message to message."""

    task: Task | Callable[[int], Task]
    local: Local
    seed: int
    defences: tuple[Defence, ...]

    def train(self, message: Message, context: Context) -> Message:
        mine, local = _own(self.task, context), self.local
        config = only(message.content.config_records, "config")
        number = number_of(config, ROUND, f"client {mine.client}")
        state = mine.state(message)
        steps = Plan(
            local, mine.part, seed=self.seed, number=number, client=mine.client,
            times=_times(config, local, mine.client, number),
        )  # fmt: skip
        (trained,) = one_by_one(
            mine.task.net, state, mine.task.train, [steps], local, number, mine.task.loss
        )
        generator = torch_stream(self.seed, "defence", number, mine.client, mine.device)
        update = apply_defences(trained.update, self.defences, generator)
        moved = apply_updates(state, [update], by_samples, server_rate(local, number))
        return _reply(message, _figures(trained), moved)

    def probe(self, message: Message, context: Context) -> Message:
        mine = _own(self.task, context)
        found = mine.task.loss.evaluate(mine.task.net, mine.state(message), mine.images())
        figures = {SAMPLES: found.n, "loss": found.loss, "accuracy": found.accuracy}
        return _reply(message, figures)

    def counts(self, context: Context) -> Int[np.ndarray, " class"]:
        mine = _own(self.task, context)
        return np.bincount(mine.images().y.cpu().numpy(), minlength=mine.task.n_classes)


@dataclass(frozen=True, eq=False)
class _Own:
    """A client, and what it holds: samples `part` of the task's training set."""

    client: int
    task: Task
    part: Int[np.ndarray, " sample"]

    @property
    def device(self) -> torch.device:
        return self.task.train.x.device

    def images(self) -> Images:
        return self.task.train.subset(self.part)

    def state(self, message: Message) -> State:
        arrays = only(message.content.array_records, "arrays")
        return to_state(arrays, state_of(self.task.net).to(self.device))


def _own(task: Task | Callable[[int], Task], context: Context) -> _Own:
    client = client_number(context)
    found = task if isinstance(task, Task) else task(client)
    alone = found.n_clients == 1 and not isinstance(task, Task)
    if not alone and not 0 <= client < found.n_clients:
        raise SettingsError(
            f"client {client} of a task of {found.n_clients}: start {found.n_clients} nodes, or"
            " divide the data among more clients"
        )
    return _Own(client, found, found.parts[0 if alone else client])


def _times(config: Mapping[str, Any], local: Local, client: int, number: int) -> int:
    """How often the client took part before; any number, where it makes no difference."""
    if TIMES in config:
        return number_of(config, TIMES, f"client {client}, round {number}")
    if len({local.schedule(number, times) for times in range(number)}) > 1:
        raise DataError(
            f"client {client}, round {number}: its learning rate depends on how often it took part,"
            f" which the strategy does not send ({TIMES}): use to_strategy, or another schedule"
        )
    return 0


def _tell(
    counts: Callable[[Context], Int[np.ndarray, " class"]], message: Message, context: Context
) -> Message:
    told = [int(n) for n in counts(context)]
    return _reply(message, {"client": client_number(context), "counts": told})


def _figures(trained: Trained) -> dict[str, Any]:
    return {
        SAMPLES: trained.update.n,
        "loss": trained.loss,
        "loss-rms": trained.loss_rms,
        "seconds": trained.seconds,
    }


def _reply(message: Message, figures: dict[str, Any], state: State | None = None) -> Message:
    content = RecordDict({"metrics": MetricRecord(figures)})
    if state is not None:
        content["arrays"] = to_arrays(state)
    return Message(content, reply_to=message)
