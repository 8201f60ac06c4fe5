"""A stream as one file, replaced whole or not at all, that goes on where it was to the last bit."""

from __future__ import annotations

import io
import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from crowdlearn.errors import VotesError
from crowdlearn.online.ledger import Ledger
from crowdlearn.online.networks import NetworkState
from crowdlearn.online.rows import Rows
from crowdlearn.online.state import StreamState

FORMAT = 1
COLUMNS = ("item", "worker", "label", "before", "last", "gold")


def save_stream(path: str | Path, method: Any, state: StreamState, **about: Any) -> None:
    """Write method and state to one file; `about` are JSON values to keep with them.

    The old file is replaced when the new one is safely on the disk.
    """
    target = Path(path)
    head = {
        "format": FORMAT,
        "method": method.name,
        "settings": _settings(method),
        "classes": list(state.classes),
        "n_updates": state.n_updates,
        "items": state.items,
        "workers": state.workers,
        "about": about,
    }
    known = {f"ledger_{name}": getattr(state.ledger, name).live for name in COLUMNS}
    text = np.frombuffer(json.dumps(head).encode(), dtype=np.uint8)
    packed = io.BytesIO()
    np.savez(packed, head=text, **known, **state.arrays())  # type: ignore[arg-type]
    target.parent.mkdir(parents=True, exist_ok=True)
    half = target.with_name(target.name + ".part")
    with half.open("wb") as file:
        file.write(packed.getbuffer())
        file.flush()
        os.fsync(file.fileno())
    half.replace(target)


def load_stream(path: str | Path, method: Any) -> tuple[Any, dict[str, Any]]:
    """The state that `save_stream` wrote for this method, and what was kept about it.

    Raises VotesError for a file that is missing, foreign, of another version, or saved by a method
    with other settings.
    """
    source = Path(path)
    try:
        with source.open("rb") as file, np.load(file, allow_pickle=False) as bag:
            arrays = {name: bag[name] for name in bag.files}
        head = json.loads(arrays.pop("head").tobytes())
    except FileNotFoundError as error:
        raise VotesError(f"{source}: there is no such file") from error
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise VotesError(f"{source}: is no saved stream ({error})") from error
    _check(source, head, method)
    state = method.init(head["classes"])
    state.ledger = _ledger(head, arrays)
    state.n_updates = head["n_updates"]
    state.restore(arrays)
    if isinstance(state, NetworkState):
        state = method.restored(state, arrays)
    return state, head["about"]


def _check(source: Path, head: dict[str, Any], method: Any) -> None:
    if head["format"] != FORMAT:
        raise VotesError(
            f"{source}: was written in format {head['format']}, this version reads {FORMAT}: "
            "start the stream anew from its votes"
        )
    if head["method"] != method.name:
        raise VotesError(f"{source}: is a stream of {head['method']}, not of {method.name}")
    ours = _settings(method)
    for name in sorted(set(ours) | set(head["settings"])):
        theirs = head["settings"].get(name)
        if ours.get(name) != theirs:
            raise VotesError(
                f"{source}: was begun with {name}={theirs!r}, not {ours.get(name)!r}: give the "
                "same settings, or start anew in another place"
            )


def _settings(method: Any) -> dict[str, Any]:
    """Settings as they look after a trip through JSON."""
    plain = {f.name: getattr(method, f.name) for f in fields(method)}
    found: dict[str, Any] = json.loads(json.dumps(plain))
    return found


def _ledger(head: dict[str, Any], arrays: dict[str, np.ndarray]) -> Ledger:
    ledger = Ledger(
        tuple(head["classes"]),
        {name: code for code, name in enumerate(head["items"])},
        {name: code for code, name in enumerate(head["workers"])},
        list(head["items"]),
        list(head["workers"]),
    )
    for name in COLUMNS:
        values = arrays.pop(f"ledger_{name}")
        setattr(ledger, name, Rows(values, len(values), getattr(ledger, name).fill))
    return ledger
