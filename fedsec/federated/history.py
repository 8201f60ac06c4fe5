"""What became of a run: its rounds as one table, and its progress on disk, to go on from.

A checkpoint is one safetensors file, so that it appears whole or not at all. It holds the global
model, the rounds, and the settings under which they were played. The rounds are JSON in a tensor of
bytes: a header of safetensors ends at 100 MB, and long runs that probe many clients pass that.
JSON keeps every bit of a double, so a resumed run is equal to one that was never interrupted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from fedsec.core.functional import Parameters, State
from fedsec.errors import DataError, SettingsError
from fedsec.federated.rounds import Probe, Round
from fedsec.federated.simulate import Progress

PHASES = ("select", "train", "aggregate", "contribute", "evaluate")
FORMAT = "fedsec checkpoint 1"
PARTS = ("parameter", "buffer")
MAX_NAMED = 3  # settings that differ, in a message


def to_table(rounds: Sequence[Round], classes: Sequence[str]) -> pa.Table:
    """One row a round: number, accuracy, recall of each class, chosen, refused, what was measured.

    Accuracy and recall are null where the model was not evaluated, or a class has no test images;
    `loss` and `contribution` go with `chosen`; `seconds_*` are the server's, by phase.
    """
    names = [
        f"recall_{name}" if classes.count(name) == 1 else f"recall_{name}_{code}"
        for code, name in enumerate(classes)
    ]
    recall = np.array([_recall(one, len(classes)) for one in rounds]).reshape(-1, len(classes))
    lists, numbers = pa.list_(pa.int64()), pa.list_(pa.float64())
    columns = {
        "number": pa.array([one.number for one in rounds], pa.int64()),
        "accuracy": _floats([one.accuracy for one in rounds]),
        **{name: _floats(recall[:, code]) for code, name in enumerate(names)},
        "chosen": pa.array([one.chosen.tolist() for one in rounds], lists),
        "refused": pa.array([list(one.refused) for one in rounds], lists),
        "loss": pa.array([one.loss.tolist() for one in rounds], numbers),
        "contribution": pa.array([_listed(one.contribution) for one in rounds], numbers),
    }
    for phase in PHASES:
        columns[f"seconds_{phase}"] = _floats([one.phases.get(phase, 0.0) for one in rounds])
    return pa.table(columns)


def save_progress(
    progress: Progress, path: Path, settings: Mapping[str, Any] | None = None
) -> None:
    """Write a checkpoint, whole or not at all. `settings` are fit for JSON, as `described` gives.

    Raises OSError where the disk refuses; an earlier checkpoint is then as it was.
    """
    about = {
        "order": {part: list(tensors) for part, tensors in _by_part(progress.state)},
        "settings": dict(settings or {}),
        "rounds": [_written(one) for one in progress.rounds],
    }
    content = bytearray(json.dumps(about).encode())
    stored = {"about": torch.frombuffer(content, dtype=torch.uint8)}
    for part, tensors in _by_part(progress.state):
        for name, value in tensors.items():
            stored[f"{part}:{name}"] = value.detach().cpu().contiguous()
    part_path = path.with_name(f"{path.name}.part")
    try:
        with part_path.open("wb") as file:
            file.write(safetensors.torch.save(stored, metadata={"format": FORMAT}))
            file.flush()
            os.fsync(file.fileno())
        os.replace(part_path, path)
    except BaseException:
        part_path.unlink(missing_ok=True)
        raise


def load_progress(
    path: Path,
    settings: Mapping[str, Any] | None = None,
    device: torch.device | str = "cpu",
) -> Progress:
    """The progress of a checkpoint, its model on a device.

    Raises DataError where the file is no checkpoint of ours, or not a whole one; SettingsError,
    which names what differs, where it was made under other settings than those given.
    """
    about, stored = _read(path)
    if settings is not None:
        differences = _differences(about["settings"], json.loads(json.dumps(settings)))
        if differences:
            more = len(differences) - MAX_NAMED
            shown = "; ".join(differences[:MAX_NAMED]) + (f"; and {more} more" if more > 0 else "")
            raise SettingsError(
                f"{path}: was made with other settings: {shown}; go on with those, or begin anew"
            )
    parameters, buffers = (
        {name: stored[f"{part}:{name}"] for name in about["order"][part]} for part in PARTS
    )
    rounds = tuple(_reread(one) for one in about["rounds"])
    return Progress(State(parameters, buffers).to(device), rounds)


def described(value: Any) -> Any:
    """Settings as data fit for JSON: a dataclass by its fields, a function by its name.

    So `described(federation)` is the record of how a federation trains.
    """
    if is_dataclass(value) and not isinstance(value, type):
        inside = {field.name: described(getattr(value, field.name)) for field in fields(value)}
        return {"is": type(value).__name__, **inside}
    if isinstance(value, partial):
        return {"is": value.func.__name__, **described(value.keywords)}
    if isinstance(value, Mapping):
        return {str(key): described(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [described(inner) for inner in value]
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    return value


def _read(path: Path) -> tuple[dict[str, Any], Parameters]:
    try:
        with safe_open(path, framework="pt") as file:
            stored = {name: file.get_tensor(name) for name in file.keys()}
            ours = (file.metadata() or {}).get("format") == FORMAT
        about: dict[str, Any] = json.loads(stored.pop("about").numpy().tobytes()) if ours else {}
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such checkpoint") from error
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise DataError(f"{path}: not a checkpoint, or not a whole one ({error})") from error
    if not ours:
        raise DataError(f"{path}: not a checkpoint that this version of fedsec reads")
    return about, stored


def _by_part(state: State) -> Iterator[tuple[str, Parameters]]:
    return zip(PARTS, (state.parameters, state.buffers), strict=True)


def _written(one: Round) -> dict[str, Any]:
    return {
        "number": one.number,
        "chosen": one.chosen.tolist(),
        "n": one.n.tolist(),
        "loss": one.loss.tolist(),
        "loss_rms": one.loss_rms.tolist(),
        "seconds": one.seconds.tolist(),
        "contribution": _listed(one.contribution),
        "probed": [[client, probe.loss, probe.accuracy] for client, probe in one.probed.items()],
        "refused": list(one.refused),
        "accuracy": one.accuracy,
        "recall": _listed(one.recall),
        "phases": dict(one.phases),
    }


def _reread(one: dict[str, Any]) -> Round:
    optional = {
        name: None if one[name] is None else np.array(one[name], np.float64)
        for name in ("contribution", "recall")
    }
    return Round(
        number=one["number"],
        chosen=np.array(one["chosen"], np.int64),
        n=np.array(one["n"], np.int64),
        loss=np.array(one["loss"], np.float64),
        loss_rms=np.array(one["loss_rms"], np.float64),
        seconds=np.array(one["seconds"], np.float64),
        probed={client: Probe(loss, accuracy) for client, loss, accuracy in one["probed"]},
        refused=tuple(one["refused"]),
        accuracy=one["accuracy"],
        phases=one["phases"],
        **optional,
    )


def _differences(there: Any, here: Any, name: str = "") -> list[str]:
    """Where two records differ, in words: `local.lr = 0.1 there, 0.05 here`."""
    if isinstance(there, dict) and isinstance(here, dict):
        found = []
        for key in [*there, *(key for key in here if key not in there)]:
            inside = f"{name}.{key}" if name else str(key)
            found += _differences(there.get(key), here.get(key), inside)
        return found
    return [] if there == here else [f"{name} is {_shown(there)} there and {_shown(here)} here"]


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _recall(one: Round, n_classes: int) -> list[float]:
    return [float("nan")] * n_classes if one.recall is None else one.recall.tolist()


def _listed(values: np.ndarray | None) -> list[float] | None:
    return None if values is None else values.tolist()


def _floats(values: Sequence[float] | np.ndarray) -> pa.Array:
    return pa.array(np.asarray(values, np.float64), from_pandas=True)  # NaN becomes null
