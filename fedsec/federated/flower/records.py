"""What goes over Flower's wire, and what we make of it.

A model travels as an ArrayRecord of its parameters and buffers by name, as
`ArrayRecord(net.state_dict())` makes it. Beside it, in the one ConfigRecord of a train message:

server-round     number of the round, 1 for the first; Flower's own strategies send it
times-chosen     in how many rounds the client took part before; a learning rate may depend on it
client-number    the client, as selectors count them

and in the one MetricRecord of the reply:

num-examples     samples that the client trained on; Flower's strategies weigh by it
loss, loss-rms   mean, and root of the mean square, of its samples' losses in the first epoch, nats
seconds          that its training took
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import TypeVar

import torch
from flwr.app import ArrayRecord, RecordDict
from torch import Tensor

from fedsec.core.functional import Parameters, State
from fedsec.core.record import Update
from fedsec.errors import DataError

ROUND = "server-round"
TIMES = "times-chosen"
CLIENT = "client-number"
SAMPLES = "num-examples"
LABEL_COUNTS = "label_counts"

Record = TypeVar("Record")


def to_arrays(state: State) -> ArrayRecord:
    """A model for Flower: parameters, then buffers, by name."""
    return ArrayRecord({**state.parameters, **state.buffers})


def to_state(arrays: ArrayRecord, like: State) -> State:
    """The model in a record, with the dtypes, device and order of `like`.

    Whole numbers, of which Flower takes means too, are rounded. Raises DataError where names or
    shapes are not those of `like`.
    """
    wanted = {**like.parameters, **like.buffers}
    if set(arrays) != set(wanted):
        differing = sorted(set(arrays) ^ set(wanted))
        raise DataError(
            f"the arrays are not those of the network: {', '.join(differing[:3])} only in one of"
            " them; send ArrayRecord(net.state_dict()) of the same network"
        )
    found = {name: _as(name, tensor(arrays, name), value) for name, value in wanted.items()}
    return State(
        {name: found[name] for name in like.parameters},
        {name: found[name] for name in like.buffers},
    )


def tensor(arrays: ArrayRecord, name: str) -> Tensor:
    """One array."""
    return torch.from_numpy(arrays[name].numpy())


def change(
    sent: Mapping[str, Tensor],
    back: Mapping[str, Tensor],
    *,
    number: int,
    client: int,
    n: int,
    buffers: Container[str] = (),
) -> Update:
    """What a client changed, as an update of kind "delta": what came back minus what was sent.

    Arrays named in `buffers`, those of whole numbers, and those that were not sent in this shape
    have no difference to take: they go to the update's buffers as they came back.
    """
    kept = {
        name
        for name, value in back.items()
        if name in buffers
        or not value.is_floating_point()
        or name not in sent
        or sent[name].shape != value.shape
    }
    return Update(
        kind="delta",
        tensors={name: back[name] - sent[name] for name in back if name not in kept},
        round=number,
        client=client,
        n=n,
        buffers={name: back[name] for name in back if name in kept},
    )


def tensors(arrays: ArrayRecord) -> Parameters:
    """All arrays by name."""
    return {name: tensor(arrays, name) for name in arrays}


def only(records: Mapping[str, Record], what: str) -> Record:
    """The one record of a kind. Raises DataError where there is none, or more."""
    if len(records) != 1:
        raise DataError(f"the message has {len(records)} records of {what}, where one is needed")
    return next(iter(records.values()))


def number_of(values: Mapping[str, object], name: str, where: str) -> int:
    """A whole number of a config. Raises DataError where it is missing or none."""
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise DataError(f"{where}: {name} is {value!r}, where a whole number is needed")
    return value


def arrays_of(content: RecordDict) -> Parameters:
    """All arrays of a message: by name; where it has several records, by record/name."""
    records: Iterable[tuple[str, ArrayRecord]] = content.array_records.items()
    several = len(content.array_records) > 1
    return {
        f"{key}/{name}" if several else name: tensor(record, name)
        for key, record in records
        for name in record
    }


def _as(name: str, value: Tensor, like: Tensor) -> Tensor:
    if value.shape != like.shape:
        raise DataError(
            f"the array {name!r} is {tuple(value.shape)}, where the network has {tuple(like.shape)}"
        )
    if value.is_floating_point() and not like.is_floating_point():
        value = value.round()
    return value.to(like)
