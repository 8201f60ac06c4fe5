"""What an `UpdateTap` of a Flower run recorded, for an attack; Flower itself is not needed.

On disk     round-0001/model.safetensors              what was sent out
            round-0001/model-client-3.safetensors     where client 3 was sent something else
            round-0001/client-3.safetensors           what client 3 changed
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import nn

from fedsec.core.functional import State
from fedsec.core.record import Update
from fedsec.errors import DataError
from fedsec.inversion.files import read_state, read_update


def recorded_rounds(folder: str | Path) -> dict[int, list[int]]:
    """Round -> the clients whose updates were recorded, both rising.

    Raises DataError where the folder holds no recording.
    """
    found: dict[int, list[int]] = {}
    for path in Path(folder).expanduser().glob("round-*/client-*.safetensors"):
        number, client = _last_number(path.parent.name), _last_number(path.stem)
        if number is not None and client is not None:
            found.setdefault(number, []).append(client)
    if not found:
        raise DataError(
            f"{folder}: holds no recording of updates (round-0001/client-0.safetensors)"
        )
    return {number: sorted(found[number]) for number in sorted(found)}


def read_round(
    folder: str | Path, number: int, client: int, net: nn.Module
) -> tuple[State, Update]:
    """What a client was sent in a round, and what it sent back.

    Raises DataError where it was not recorded, UpdateError where it does not fit the network or is
    not finite; messages name the file.
    """
    clients = recorded_rounds(folder).get(number)
    if clients is None or client not in clients:
        there = (
            f"clients {', '.join(map(str, clients))} are"
            if clients
            else f"rounds {', '.join(map(str, recorded_rounds(folder)))} are"
        )
        raise DataError(f"{folder}: has no client {client} in round {number}: {there} recorded")
    place = Path(folder).expanduser() / f"round-{number:04d}"
    own = place / f"model-client-{client}.safetensors"
    sent = read_state(own if own.exists() else place / "model.safetensors", net)
    update = read_update(place / f"client-{client}.safetensors", net, sent)
    return sent, replace(update, round=number, client=client)


def _last_number(name: str) -> int | None:
    end = name.rpartition("-")[2]
    return int(end) if end.isdecimal() else None
