"""A selector as a Flower strategy: FedEMD, and the others, in a real run.

Story       Before the first round every node is asked once who it is and how many samples of each
            class it holds. In each round the selector sees what it sees in `simulate`, the rounds
            so far, and chooses; another strategy, FedAvg unless said otherwise, makes the messages
            for the chosen clients, and one model of what comes back.
Privacy     Label counts tell the server which classes a client has. They are sent in the clear,
            once; a client may send noised ones (`report_label_counts`). A selector that probes
            asks clients for the loss and accuracy of the model on their data, too.
As simulate Draws are those of the same seed, and replies are put in the order of the choice before
            they are averaged: a run on Ray repeats one of `simulate`, ids and parameters.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Strategy
from jaxtyping import Float, Int
from torch import nn

from fedsec.core.functional import State, state_of
from fedsec.core.record import Update
from fedsec.core.rng import stream
from fedsec.data.images import Images
from fedsec.errors import DataError, SettingsError, UpdateError
from fedsec.federated.contribution import Method, negative_loss, round_game
from fedsec.federated.flower import replies as read
from fedsec.federated.flower.grid import SomeNodes
from fedsec.federated.flower.records import (
    CLIENT,
    LABEL_COUNTS,
    ROUND,
    SAMPLES,
    TIMES,
    tensors,
    to_state,
)
from fedsec.federated.rounds import Probe, Round, Selector, View, checked_choice

Contribute = Callable[
    [ArrayRecord, Sequence[Update], np.random.Generator], Float[np.ndarray, " update"]
]
"""(model sent out, what came back, rng) -> what each of them contributed."""


def to_strategy(
    selector: Selector,
    *,
    n_clients: int,
    per_round: int,
    seed: int = 0,
    inner: Strategy | None = None,
    contribution: Contribute | None = None,
    skip_bad_updates: bool = False,
    rounds: Sequence[Round] = (),
    patience: float = 3600.0,
) -> SelectorStrategy:
    """A Flower strategy that trains the clients which a selector chooses.

    n_clients         nodes of the federation, N; the first round waits for them
    per_round         clients chosen in a round, K
    seed              of the selector's stream
    inner             makes the messages, and one model of the replies. It sees a grid of the
                      chosen nodes alone and must sample all of them. None is FedAvg, without
                      evaluation by clients
    contribution      measures what each client contributed, as `contributions_on` does, for
                      selectors that need it
    skip_bad_updates  go on without a client that fails, does not reply in time, or whose update
                      is not finite; else the run ends
    rounds            of an earlier run, to go on from
    patience          seconds to wait for nodes to connect, and for what is asked before training

    Clients answer as those of `to_client_app` do. A ClientApp of your own needs
    `report_label_counts`, and an evaluate handler that gives loss and accuracy where the selector
    says `needs_probe`; what its train replies lack of loss, loss-rms and seconds is NaN in a round.

    Raises SettingsError for numbers that do not fit, and where the selector needs contributions.
    A run raises DataError where nodes do not say who they are, and UpdateError, which names client
    and round, for an update that must not be used.
    """
    return SelectorStrategy(
        selector=selector, n_clients=n_clients, per_round=per_round, seed=seed,
        inner=inner or FedAvg(fraction_evaluate=0.0, min_train_nodes=1, min_available_nodes=1),
        contribution=contribution, skip_bad_updates=skip_bad_updates, rounds=tuple(rounds),
        patience=patience,
    )  # fmt: skip


def contributions_on(method: Method, net: nn.Module, images: Images) -> Contribute:
    """Contributions to minus the loss on images that the server holds, as in `simulate`.

    Clients weigh as much as they have samples. The images, which should not be those of the final
    test, lie on the device where the game is to be computed.
    """
    utility = negative_loss(net, images)

    def contribute(
        arrays: ArrayRecord, updates: Sequence[Update], rng: np.random.Generator
    ) -> Float[np.ndarray, " update"]:
        before = to_state(arrays, state_of(net).to(images.x.device))
        return method(
            round_game(before, [_of(before, one) for one in updates], utility), rng
        ).values

    return contribute


@dataclass(frozen=True, eq=False)
class _Open:
    """A round whose replies are awaited; `nodes` are of the chosen clients, in their order."""

    number: int
    nodes: dict[int, int]
    sent: ArrayRecord
    probed: Mapping[int, Probe]


class SelectorStrategy(Strategy):
    """What `to_strategy` makes. Flower's strategies keep what they learn; here that is public.

    rounds   that were played, recorded as by `simulate`, but for evaluation and phases
    counts   (client, class) label counts, once the clients told them
    """

    def __init__(
        self,
        *,
        selector: Selector,
        n_clients: int,
        per_round: int,
        seed: int,
        inner: Strategy,
        contribution: Contribute | None,
        skip_bad_updates: bool,
        rounds: tuple[Round, ...],
        patience: float,
    ) -> None:
        if not 1 <= per_round <= n_clients:
            raise SettingsError(
                f"{per_round} clients a round of {n_clients}: take 1 to {n_clients}"
            )
        if getattr(selector, "needs_contribution", False) and contribution is None:
            raise SettingsError(
                f"{type(selector).__name__} selects by contribution: say how to measure it, as"
                " contribution=contributions_on(Exact(), net, images)"
            )
        _check_inner(inner, per_round)
        self.rounds = rounds
        self.counts: Int[np.ndarray, "client class"] | None = None
        self._selector, self._inner, self._contribution = selector, inner, contribution
        self._n_clients, self._per_round, self._seed = n_clients, per_round, seed
        self._skip, self._patience = skip_bad_updates, patience
        self._nodes: list[int] = []  # of each client
        self._open: _Open | None = None

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Messages to the clients that the selector chooses, in the order of its choice."""
        number, probed = len(self.rounds) + 1, dict[int, Probe]()
        view = View(
            number=number, per_round=self._per_round, counts=self._meet(grid), rounds=self.rounds,
            probe=self._probe(arrays, config, grid, probed),
        )  # fmt: skip
        chosen = checked_choice(self._selector(view, stream(self._seed, "select", number)), view)
        nodes = {int(client): self._nodes[client] for client in chosen}
        asked = SomeNodes(grid, nodes.values())
        made = self._inner.configure_train(number, arrays, config, asked)
        messages = {one.metadata.dst_node_id: one for one in made}
        if set(messages) != set(nodes.values()):
            raise SettingsError(
                f"round {number}: the inner strategy asks {len(messages)} of the {len(nodes)}"
                " chosen clients: let it sample all nodes of its grid"
            )
        times = view.times_chosen()
        for client, node in nodes.items():
            told = {ROUND: number, TIMES: int(times[client]), CLIENT: client}
            messages[node].content = _telling(messages[node].content, told)
        self._open = _Open(number, nodes, arrays, probed)
        return [messages[node] for node in nodes.values()]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The inner strategy's model of the good replies, in the order of the choice."""
        this, found = self._open, read.by_node(replies)
        assert this is not None, "replies to a round that was not begun"
        sent = tensors(this.sent)
        good: dict[int, Message] = {}
        updates: list[Update] = []
        for client, node in this.nodes.items():
            try:
                update = read.update_of(found.get(node), sent, client, this.number)
            except UpdateError:
                if not self._skip:
                    raise
                continue
            good[client] = found[node]
            if self._contribution is not None:
                updates.append(update)
        self.rounds += (self._round(this, found, good, updates),)
        self._open = None
        if not good:
            return None, None
        return self._inner.aggregate_train(this.number, list(good.values()))

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """As the inner strategy."""
        return self._inner.configure_evaluate(len(self.rounds), arrays, config, grid)

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """As the inner strategy."""
        return self._inner.aggregate_evaluate(len(self.rounds), replies)

    def summary(self) -> None:
        """As the inner strategy."""
        self._inner.summary()

    def _meet(self, grid: Grid) -> Int[np.ndarray, "client class"]:
        """The label counts; asks every node, the first time."""
        if self.counts is None:
            nodes = _connected(grid, self._n_clients, self._patience)
            asked = [Message(RecordDict(), node, f"query.{LABEL_COUNTS}") for node in nodes]
            found = read.by_node(grid.send_and_receive(asked, timeout=self._patience))
            self._nodes, self.counts = read.introduced(nodes, found)
        return self.counts

    def _probe(
        self, arrays: ArrayRecord, config: ConfigRecord, grid: Grid, probed: dict[int, Probe]
    ) -> Callable[[Int[np.ndarray, " some"]], list[Probe]]:
        """Asks clients that were not asked in this round, and keeps in `probed` what they say."""
        number = len(self.rounds) + 1

        def probe(ids: Int[np.ndarray, " some"]) -> list[Probe]:
            clients = [int(client) for client in ids]
            new = [client for client in dict.fromkeys(clients) if client not in probed]
            content = RecordDict({"arrays": arrays, "config": ConfigRecord(dict(config))})
            content = _telling(content, {ROUND: number})
            asked = [Message(content, self._nodes[c], MessageType.EVALUATE) for c in new]
            found = read.by_node(grid.send_and_receive(asked, timeout=self._patience))
            for client in new:
                probed[client] = read.probe_of(found.get(self._nodes[client]), client, number)
            return [probed[client] for client in clients]

        return probe

    def _round(
        self, this: _Open, found: read.Replies, good: Mapping[int, Message], updates: list[Update]
    ) -> Round:
        told = [read.metrics_of(found.get(node)) for node in this.nodes.values()]
        contribution = None
        if self._contribution is not None:
            contribution = np.zeros(len(this.nodes))
            if updates:
                rng = stream(self._seed, "contribution", this.number)
                values = self._contribution(this.sent, updates, rng)
                contribution[[client in good for client in this.nodes]] = values
        return Round(
            number=this.number, chosen=np.array(list(this.nodes)), contribution=contribution,
            probed=this.probed, refused=tuple(c for c in this.nodes if c not in good),
            n=np.array([int(one.get(SAMPLES, 0)) for one in told]),
            loss=_figures(told, "loss"), loss_rms=_figures(told, "loss-rms"),
            seconds=_figures(told, "seconds"),
        )  # fmt: skip


def _check_inner(inner: Strategy, per_round: int) -> None:
    """FedAvg and its children would wait for ever for nodes that they do not see."""
    if isinstance(inner, FedAvg):
        asked = max(int(per_round * inner.fraction_train), inner.min_train_nodes)
        if asked != per_round or inner.min_available_nodes > per_round:
            raise SettingsError(
                f"the inner {type(inner).__name__} samples among the {per_round} chosen clients:"
                " give it fraction_train=1.0, min_train_nodes=1 and min_available_nodes=1"
            )


def _connected(grid: Grid, n_clients: int, patience: float) -> list[int]:
    """The nodes, once all are there. Raises DataError where they are too many, or do not come."""
    until = time.monotonic() + patience
    while len(nodes := list(grid.get_node_ids())) < n_clients and time.monotonic() < until:
        time.sleep(0.2)
    if len(nodes) != n_clients:
        raise DataError(
            f"{len(nodes)} nodes are connected, where the strategy is for {n_clients} clients:"
            " n_clients must be the number of nodes"
        )
    return nodes


def _telling(content: RecordDict, told: Mapping[str, int]) -> RecordDict:
    """The same content, its config record with these entries too."""
    key, config = next(iter(content.config_records.items()), ("config", ConfigRecord()))
    return RecordDict({**content, key: ConfigRecord({**config, **told})})


def _figures(told: Sequence[Mapping[str, Any]], name: str) -> Float[np.ndarray, " chosen"]:
    return np.array([float(one.get(name, math.nan)) for one in told])


def _of(before: State, update: Update) -> Update:
    """The update in terms of a network: running statistics are buffers, as they came back."""
    device = next(iter(before.parameters.values())).device
    arrays = {name: value.to(device) for name, value in (update.tensors | update.buffers).items()}
    return Update(
        kind="delta",
        tensors={name: arrays[name] for name in before.parameters},
        round=update.round,
        client=update.client,
        n=update.n,
        buffers={
            name: arrays[name] if name in update.buffers else value + arrays[name]
            for name, value in before.buffers.items()
        },
    )
