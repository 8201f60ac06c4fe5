"""An attack on disk, to go on from: one safetensors file, whole or not at all.

It holds all parts of the attack, the best copy, the records, what the oracle had counted, and the
settings. JSON keeps every bit of a double and safetensors every bit of a tensor, so a resumed run
is equal to one that was never interrupted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fedsec.core.functional import State
from fedsec.errors import DataError, SettingsError
from fedsec.stealing.oracle import Oracle
from fedsec.stealing.parts import Parts
from fedsec.stealing.records import StealRecord

FORMAT = "fedsec stealing checkpoint 1"
MAX_NAMED = 3  # settings that differ, in a message


@dataclass(eq=False)
class Course:
    """How far a run has come, beside its parts.

    best        the copy that agrees best with the held-out queries, and `best_queries` its queries
    steps       of the substitute's optimiser
    seconds     of wall time before this session
    recorded    queries at the last record
    stopped     why it ended; empty: it has not
    """

    best: State
    best_queries: int = 0
    records: list[StealRecord] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0
    recorded: int = 0
    stopped: str = ""


def save_run(
    path: Path, parts: Parts, course: Course, oracle: Oracle, settings: Mapping[str, Any]
) -> None:
    """Write a checkpoint. Raises OSError where the disk refuses: an earlier one is then kept."""
    stored: dict[str, Tensor] = {}
    for name, net in parts.nets.items():
        stored |= {f"net:{name}:{key}": value for key, value in net.state_dict().items()}
    optimisers = {}
    for name, optimiser in parts.optimisers.items():
        optimisers[name] = _taken_apart(name, optimiser.state_dict(), stored)
    for name, generator in parts.generators.items():
        stored[f"generator:{name}"] = generator.get_state()
    stored |= {f"tensor:{name}": value for name, value in parts.tensors.items()}
    stored |= {f"best parameter:{name}": value for name, value in course.best.parameters.items()}
    stored |= {f"best buffer:{name}": value for name, value in course.best.buffers.items()}
    stored["counts"] = oracle.log.counts
    about = {
        "settings": dict(settings), "optimisers": optimisers, "numbers": parts.numbers,
        "queries": oracle.queries, "calls": oracle.log.calls, "steps": course.steps,
        "seconds": course.seconds, "recorded": course.recorded, "stopped": course.stopped,
        "best_queries": course.best_queries,
        "order": [list(course.best.parameters), list(course.best.buffers)],
        "records": [record.to_json() for record in course.records],
    }  # fmt: skip
    _write(path, stored, about)


def load_run(path: Path, parts: Parts, oracle: Oracle, settings: Mapping[str, Any]) -> Course:
    """Put a checkpoint into parts made by the same settings, and the oracle's counts too.

    Raises DataError where the file is no checkpoint of ours, or not a whole one; SettingsError,
    which names what differs, where it was made under other settings.
    """
    about, stored = _read(path)
    _check_settings(path, about["settings"], json.loads(json.dumps(settings)))
    where = parts.device
    for name, net in parts.nets.items():
        net.load_state_dict(_with(f"net:{name}:", stored))
    for name, optimiser in parts.optimisers.items():
        optimiser.load_state_dict(_put_together(name, about["optimisers"][name], stored))
    for name, generator in parts.generators.items():
        generator.set_state(stored[f"generator:{name}"])
    parts.tensors.clear()
    parts.tensors |= {key: value.to(where) for key, value in _with("tensor:", stored).items()}
    parts.numbers.clear()
    parts.numbers |= about["numbers"]
    oracle.resume(about["queries"], about["calls"], stored["counts"])
    parameters, buffers = (
        {name: stored[f"best {part}:{name}"].to(where) for name in order}
        for part, order in zip(("parameter", "buffer"), about["order"], strict=True)
    )
    return Course(
        State(parameters, buffers), about["best_queries"],
        [StealRecord.from_json(line) for line in about["records"]],
        about["steps"], about["seconds"], about["recorded"], about["stopped"],
    )  # fmt: skip


def _taken_apart(name: str, state: dict[str, Any], stored: dict[str, Tensor]) -> dict[str, Any]:
    """The state of an optimiser as JSON; its tensors go to `stored`."""
    plain: dict[str, dict[str, Any]] = {}
    for index, entries in state["state"].items():
        plain[str(index)] = {}
        for key, value in entries.items():
            if isinstance(value, Tensor):
                stored[f"optimiser:{name}:{index}:{key}"] = value
            else:
                plain[str(index)][key] = value
    return {"param_groups": state["param_groups"], "state": plain}


def _put_together(name: str, plain: dict[str, Any], stored: dict[str, Tensor]) -> dict[str, Any]:
    state = {int(index): dict(entries) for index, entries in plain["state"].items()}
    for key, value in _with(f"optimiser:{name}:", stored).items():
        index, entry = key.split(":", 1)
        state[int(index)][entry] = value
    return {"param_groups": plain["param_groups"], "state": state}


def _with(start: str, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(start): value for name, value in stored.items() if name.startswith(start)
    }


def _write(path: Path, stored: dict[str, Tensor], about: dict[str, Any]) -> None:
    content = bytearray(json.dumps(about).encode())
    ready = {"about": torch.frombuffer(content, dtype=torch.uint8)}
    seen: set[int] = set()
    for name, value in stored.items():
        value = value.detach().cpu().contiguous()
        memory = value.untyped_storage().data_ptr()
        ready[name] = value.clone() if memory in seen else value  # the format shares no memory
        seen.add(memory)
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(safetensors.torch.save(ready, metadata={"format": FORMAT}))
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            stored = {name: file.get_tensor(name) for name in file.keys()}
            ours = (file.metadata() or {}).get("format") == FORMAT
        about: dict[str, Any] = json.loads(stored.pop("about").numpy().tobytes()) if ours else {}
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise DataError(f"{path}: not a checkpoint, or not a whole one ({error})") from error
    if not ours:
        raise DataError(f"{path}: not a checkpoint that this version of fedsec reads")
    return about, stored


def _check_settings(path: Path, there: Any, here: Any) -> None:
    found = _differences(there, here)
    if found:
        more = f"; and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
        raise SettingsError(
            f"{path}: was made with other settings: {'; '.join(found[:MAX_NAMED])}{more}; go on"
            " with those, or begin anew"
        )


def _differences(there: Any, here: Any, name: str = "") -> list[str]:
    """Where two records differ, in words: `attack.batch is 128 there and 256 here`."""
    if isinstance(there, dict) and isinstance(here, dict):
        return [
            difference
            for key in sorted({*there, *here})
            for difference in _differences(
                there.get(key), here.get(key), f"{name}.{key}" if name else str(key)
            )
        ]
    return [] if there == here else [f"{name} is {there!r:.60} there and {here!r:.60} here"]
