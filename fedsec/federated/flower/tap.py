"""What every client of a Flower run sent, on disk, for whoever asks what it gives away.

Story       An honest but curious server runs the protocol as it should, and looks. A `UpdateTap`
            stands where it stands: `strategy.start(UpdateTap(grid, folder), ...)` in place of
            `strategy.start(grid, ...)`. All messages pass as they are. Of train messages it writes
            the model sent out, and what each reply changed of it, as an `Update`.
Any run     It reads the messages, so the strategy, the ClientApp and the engine may be anyone's.
            Users of Flower ask for this (JonasGeiping/breaching, issue 20).
On disk     round-0001/model.safetensors              what was sent out
            round-0001/model-client-3.safetensors     where client 3 was sent something else
            round-0001/client-3.safetensors           what client 3 changed
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from flwr.app import Message
from flwr.serverapp import Grid
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from fedsec.core.functional import Parameters
from fedsec.core.record import Update
from fedsec.errors import DataError
from fedsec.federated.flower.grid import Passing
from fedsec.federated.flower.records import CLIENT, ROUND, SAMPLES, arrays_of, change

LEGACY_SAMPLES = "num_examples"  # of strategies in flwr.server


class UpdateTap(Passing):
    """A grid that passes all messages of another one on, and records updates in a folder.

    grid      that carries the messages
    folder    is made; must hold no recording yet
    buffers   names of arrays that are running statistics, as of `net.named_buffers()`: they are
              recorded as they came back, as are arrays of whole numbers, and such that were not
              sent. All others are recorded as what came back minus what was sent.

    The round is the message's server-round, else its group id, else counted by calls. The client
    is the client-number that `to_strategy` sends, else the id of the node. `n` is the reply's
    num-examples, 0 where it has none. A client that fails leaves no file.

    Raises DataError for a folder that holds a recording. What cannot be written (OSError) ends the
    run: a recording with holes would pass for a whole one.
    """

    def __init__(self, grid: Grid, folder: str | Path, *, buffers: Collection[str] = ()) -> None:
        super().__init__(grid)
        self._folder, self._buffers = Path(folder), frozenset(buffers)
        if any(self._folder.glob("round-*")):
            raise DataError(f"{folder}: holds a recording already: give another folder")
        self._folder.mkdir(parents=True, exist_ok=True)
        self._models: dict[int, Parameters] = {}  # of the newest round
        self._awaited: dict[int, tuple[int, int, Parameters]] = {}
        self._n_calls = 0
        self._one_at_a_time = Lock()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """As the other grid."""
        return super().push_messages(self._sent(messages))

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """As the other grid."""
        return self._received(super().pull_messages(message_ids))

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: int | float | None = None
    ) -> Iterable[Message]:
        """As the other grid."""
        return self._received(super().send_and_receive(self._sent(messages), timeout=timeout))

    def _sent(self, messages: Iterable[Message]) -> list[Message]:
        passed = list(messages)
        trained = [one for one in passed if _trains(one) and one.content.array_records]
        with self._one_at_a_time:
            self._n_calls += bool(trained)
            for message in trained:
                node = message.metadata.dst_node_id
                number, client = _about(message, self._n_calls)
                self._awaited[node] = number, client, self._model(message, number, client)
        return passed

    def _model(self, message: Message, number: int, client: int) -> Parameters:
        """What this client is sent; written the first time, and where it differs from that."""
        sent = arrays_of(message.content)
        if number not in self._models:
            self._models = {number: sent}
            _write(sent, model_path(self._folder, number))
        elif not _equal(sent, self._models[number]):
            _write(sent, model_path(self._folder, number, client))
            return sent
        return self._models[number]

    def _received(self, replies: Iterable[Message]) -> list[Message]:
        passed = list(replies)
        with self._one_at_a_time:
            for reply in passed:
                if not _trains(reply) or reply.metadata.src_node_id not in self._awaited:
                    continue
                number, client, sent = self._awaited.pop(reply.metadata.src_node_id)
                if not reply.has_error() and reply.content.array_records:
                    update = change(
                        sent, arrays_of(reply.content), number=number, client=client,
                        n=_samples(reply), buffers=self._buffers,
                    )  # fmt: skip
                    path = model_path(self._folder, number)
                    update.save(path.with_name(f"client-{client}.safetensors"))
        return passed


def read_updates(folder: str | Path) -> Iterator[Update]:
    """What a tap recorded, one by one, by round and then by client.

    Raises DataError where the folder holds no recording, UpdateError where a file is damaged.
    """
    rounds = sorted(Path(folder).glob("round-*"), key=_last_number)
    if not rounds:
        raise DataError(
            f"{folder}: holds no recording of updates (round-0001/client-0.safetensors)"
        )
    for one in rounds:
        for path in sorted(one.glob("client-*.safetensors"), key=_last_number):
            yield Update.load(path)


def read_model(folder: str | Path, number: int, client: int) -> Parameters:
    """The model that a client was sent in a round, by name.

    Raises DataError where it was not recorded.
    """
    own = model_path(Path(folder), number, client)
    path = own if own.exists() else model_path(Path(folder), number)
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path}: no model of round {number} can be read ({error})") from error


def model_path(folder: Path, number: int, client: int | None = None) -> Path:
    """Where the model sent out in a round lies, or the one for a client alone."""
    name = "model" if client is None else f"model-client-{client}"
    return folder / f"round-{number:04d}" / f"{name}.safetensors"


def _last_number(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


def _trains(message: Message) -> bool:
    return message.metadata.message_type.split(".")[0] == "train"


def _about(message: Message, n_calls: int) -> tuple[int, int]:
    """Round and client."""
    config: Mapping[str, Any] = next(iter(message.content.config_records.values()), {})
    number, client = config.get(ROUND), config.get(CLIENT)
    if not isinstance(number, int):
        group = message.metadata.group_id
        number = int(group) if group.isdecimal() else n_calls
    return number, client if isinstance(client, int) else message.metadata.dst_node_id


def _samples(reply: Message) -> int:
    for record in reply.content.metric_records.values():
        for name in (SAMPLES, LEGACY_SAMPLES):
            if isinstance(n := record.get(name), int | float):
                return int(n)
    return 0


def _equal(one: Parameters, two: Parameters) -> bool:
    return one.keys() == two.keys() and all(
        torch.equal(value, two[name]) for name, value in one.items()
    )


def _write(model: Parameters, path: Path) -> None:
    """Whole or not at all."""
    path.parent.mkdir(exist_ok=True)
    part = path.with_name(path.name + ".part")
    save_file({name: value.contiguous() for name, value in model.items()}, part)
    os.replace(part, path)
