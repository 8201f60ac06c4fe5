"""Votes coded for one call: into a folder that is kept and used again, or into a temporary one."""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crowdlearn.errors import SettingsError
from crowdlearn.io import checked_classes
from crowdlearn.reading.columns import check_columns
from crowdlearn.reading.sources import files_of
from crowdlearn.shards.coding import Progress, code_votes, manifest_of
from crowdlearn.shards.survey import Job
from crowdlearn.shards.votes import ShardedVotes, open_votes


@dataclass(frozen=True, eq=False)
class Coded:
    """Coded votes; whether they had been coded before; and how to remove a temporary folder."""

    votes: ShardedVotes
    reused: bool
    remove: Callable[[], Any]  # also done when the votes go, and when Python ends


def coded_votes(
    source: Any,
    folder: str | Path | None = None,
    *,
    beside: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    classes: Sequence[Any] | None = None,
    drop_missing: bool = False,
    device: str = "auto",
    memory: int | None = None,
    n_actors: int | None = None,
    checkpoint: str | Path | None = None,
    progress: Progress | None = None,
) -> Coded:
    """The votes of `source`, coded into `folder` unless they are there.

    Left out, the folder is `coded` within `checkpoint`, so that a fit that goes on finds it; else a
    temporary one in `beside` (default: where the system has its temporary files). Other settings as
    in `code_votes` and `open_votes`.

    Raises SettingsError where the folder was coded of other files, of files that have changed since
    (by size or time), or with other columns, classes or `drop_missing`.
    """
    job = Job(check_columns(columns), checked_classes(classes), drop_missing)
    if folder is None and checkpoint is not None:
        folder = Path(checkpoint) / "coded"
    held: dict[str, Any] = {"memory": memory, "n_actors": n_actors, "checkpoint": checkpoint}
    if folder is not None and (Path(folder).expanduser() / "summary.json").exists():
        votes = open_votes(folder, **held)
        _refuse_others(votes.folder, json.loads(json.dumps(manifest_of(files_of(source), job))))
        return Coded(votes, True, lambda: None)
    wanted: dict[str, Any] = {
        "columns": columns, "classes": classes, "drop_missing": drop_missing, "device": device,
        "progress": progress,
    }  # fmt: skip
    if folder is not None:
        code_votes(source, folder, **wanted)
        return Coded(open_votes(folder, **held), False, lambda: None)
    temporary = tempfile.mkdtemp(prefix=".crowdlearn-coded-", dir=_made(beside))
    try:
        code_votes(source, Path(temporary) / "coded", **wanted)
        votes = open_votes(Path(temporary) / "coded", **held)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return Coded(votes, False, weakref.finalize(votes, shutil.rmtree, temporary, True))


def _made(folder: str | Path | None) -> Path | None:
    if folder is None:
        return None
    path = Path(folder).expanduser().resolve()
    path.mkdir(parents=True, exist_ok=True)
    return path


def _refuse_others(folder: str, wanted: dict[str, Any]) -> None:
    """Raise SettingsError where a folder was coded of something else."""
    said = json.loads((Path(folder) / "summary.json").read_text())
    why = _difference(said.get("sources", []), wanted["sources"])
    for name, value in wanted["options"].items():
        if said.get("options", {}).get(name) != value:
            why = f"{name} was {said.get('options', {}).get(name)!r}, and is {value!r}"
    if why:
        raise SettingsError(
            f"{folder}: was coded of other votes: {why}; remove it, or name another folder"
        )


def _difference(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> str:
    """What sets two lists of files apart, in words; nothing where they are the same."""
    then, there = ({one["name"]: one for one in files} for files in (before, now))
    for name in there:
        if name not in then:
            return f"{name} was not among them"
    for name, one in then.items():
        if name not in there:
            return f"{name} was among them"
        if one != there[name]:
            return f"{name} has changed since"
    return "" if list(then) == list(there) else "the files came in another order"
