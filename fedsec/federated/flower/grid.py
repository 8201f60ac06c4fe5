"""Any Flower strategy with any ClientApp in this process, one client after another.

Story       Flower's strategies speak to a `Grid`, which carries messages to nodes and replies back.
            Here a node is a call of the ClientApp: nothing is serialised, started or waited for.
As Flower   Every node has its partition-id, and keeps the state of its context from message to
            message. A client gets a message of its own, which it may change. One that raises gives
            an error reply, and the others go on.
Departures  Nodes are numbered 0, 1, ..., N - 1, as their partitions; Flower draws their ids. The
            reason of an error names the exception first. Timeouts are not heeded.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Mapping
from threading import Lock

from flwr.app import ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from fedsec.errors import SettingsError
from fedsec.federated.flower import private

Record = ArrayRecord | ConfigRecord | MetricRecord
Value = bool | int | float | str
logger = logging.getLogger(__name__)


class InProcessGrid(Grid):
    """A grid of `n_clients` nodes, 0 to n_clients - 1, each of which is a call of `app`.

    `run_config` is what the contexts of the clients hold. One client runs at a time, whichever
    thread asks, and replies come in the order of the messages. A process that had none gets the
    identity that Flower needs to make messages. Raises SettingsError for less than one client.
    """

    def __init__(
        self, app: ClientApp, n_clients: int, *, run_config: Mapping[str, Value] | None = None
    ) -> None:
        if n_clients < 1:
            raise SettingsError(f"n_clients = {n_clients}: give at least 1")
        private.identify()
        self._app, self._n_clients = app, n_clients
        self._run_config = dict(run_config or {})
        self._run = private.empty_run()
        self._states: dict[int, RecordDict] = {}
        self._replies: dict[str, Message] = {}
        self._n_sent = 0
        self._one_at_a_time = Lock()

    def set_run(self, run: private.Run) -> None:
        """Set the run that `run` gives."""
        self._run = run

    @property
    def run(self) -> private.Run:
        """What was set; else a run of number 1."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: int | float | None = None,
    ) -> Message:
        """A message, as its constructor makes it."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """0 to n_clients - 1."""
        return list(range(self._n_clients))

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Call the clients now; the ids of the messages, by which replies are pulled."""
        ids = []
        for message in messages:
            with self._one_at_a_time:
                self._n_sent += 1
                ids.append(str(self._n_sent))
                private.number(message, ids[-1])
                self._replies[ids[-1]] = self._answer(message)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The replies to these messages, each of them once."""
        return [self._replies.pop(one) for one in list(message_ids) if one in self._replies]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: int | float | None = None
    ) -> Iterable[Message]:
        """The replies, in the order of the messages."""
        return self.pull_messages(self.push_messages(messages))

    def _answer(self, message: Message) -> Message:
        node = message.metadata.dst_node_id
        if not 0 <= node < self._n_clients:
            reason = f"there is no node {node}: nodes are 0 to {self._n_clients - 1}"
            return Message(Error(private.UNAVAILABLE, reason), reply_to=message)
        context = Context(
            run_id=message.metadata.run_id,
            node_id=node,
            node_config={"partition-id": node, "num-partitions": self._n_clients},
            state=_own(self._states.get(node, RecordDict())),
            run_config=dict(self._run_config),
        )
        received = copy.copy(message)
        received.content = _own(message.content)
        try:
            reply = self._app(received, context)
            if not isinstance(reply, Message):
                raise TypeError(f"the ClientApp gave {type(reply).__name__}, not a Message")
        except Exception as error:  # a client's fault must not end the server, as in Flower
            logger.error("client %d failed", node, exc_info=error)
            reason = f"{type(error).__name__}: {error}"
            return Message(Error(private.RAISED, reason), reply_to=message)
        if context.state:
            self._states[node] = context.state
        return reply


class Passing(Grid):
    """Another grid as it is: what a grid that looks on, or hides nodes, starts from."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def set_run(self, run: private.Run) -> None:
        """As the other grid."""
        self._grid.set_run(run)

    @property
    def run(self) -> private.Run:
        """As the other grid."""
        return self._grid.run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: int | float | None = None,
    ) -> Message:
        """As the other grid."""
        return self._grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> Iterable[int]:
        """As the other grid."""
        return self._grid.get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """As the other grid."""
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """As the other grid."""
        return self._grid.pull_messages(message_ids)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: int | float | None = None
    ) -> Iterable[Message]:
        """As the other grid."""
        return self._grid.send_and_receive(messages, timeout=timeout)


class SomeNodes(Passing):
    """Another grid, of which only these nodes are seen."""

    def __init__(self, grid: Grid, nodes: Iterable[int]) -> None:
        super().__init__(grid)
        self._nodes = list(nodes)

    def get_node_ids(self) -> Iterable[int]:
        """These nodes."""
        return list(self._nodes)


def run_in_process(
    server_app: ServerApp,
    client_app: ClientApp,
    n_clients: int,
    *,
    run_config: Mapping[str, Value] | None = None,
) -> None:
    """Run a Flower project here: what `flwr run` does, without its daemon, Ray, or new processes.

    `run_config` stands for the project's table [tool.flwr.app.config]; both apps see it.
    """
    grid = InProcessGrid(client_app, n_clients, run_config=run_config)
    context = Context(
        run_id=private.RUN_ID,
        node_id=private.SUPERLINK_NODE_ID,
        node_config={},
        state=RecordDict(),
        run_config=dict(run_config or {}),
    )
    server_app(grid, context)


def _own(content: RecordDict) -> RecordDict:
    """A copy that can be changed: arrays are bytes, which are shared, the rest is copied."""
    return RecordDict({name: _own_record(record) for name, record in content.items()})


def _own_record(record: Record) -> Record:
    if isinstance(record, ConfigRecord):
        return ConfigRecord(copy.deepcopy(dict(record)))
    if isinstance(record, MetricRecord):
        return MetricRecord(copy.deepcopy(dict(record)))
    return record.copy()
