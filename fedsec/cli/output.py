"""Results on disk: a folder appears whole or not at all, and what is not ours is left alone."""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedsec.errors import FedsecError

SETTINGS = "settings.json"
FORMAT = "fedsec 1"


class OutputError(FedsecError, OSError):
    """A result could not be written; nothing of it was left behind."""


def checked_new(path: str) -> Path:
    """The path of a folder to come, before any work is done for it.

    Raises OutputError where something is there already, and where the disk refuses a folder.
    """
    target = Path(path).expanduser().resolve()
    with said_as_output_errors(target):
        if target.is_dir() and any(target.iterdir()):
            raise OutputError(f"{target}: is not empty: choose a new folder")
        if target.exists() and not target.is_dir():
            raise OutputError(f"{target}: is a file: choose a new folder")
        there = next(place for place in target.parents if place.exists())
        trial = _beside(there / target.name, "trial")
        trial.mkdir()
        trial.rmdir()
    return target


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target` that takes its place when the block ends without an error.

    On any error it is removed, and `target` stays as it was. Only a folder of ours is replaced.
    Raises OutputError where the disk refuses, or the folder holds anything else.
    """
    with said_as_output_errors(target):
        if not _is_ours(target):
            checked_new(str(target))
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = _beside(target, "partial")
        temporary.mkdir()
        try:
            yield temporary
            _swap_in(temporary, target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def write_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write settings.json, by which a folder of ours is known."""
    text = json.dumps({"format": FORMAT, **settings}, indent=1, ensure_ascii=False)
    (folder / SETTINGS).write_text(f"{text}\n", encoding="utf-8")


def check_new_model(out: Path, checkpoint: Path, *, resume: bool) -> None:
    """Raise OutputError unless `out` can be a new model, and the checkpoint is as `resume` says."""
    if out.suffix != ".safetensors":
        raise OutputError(f"--out {out.name}: models are .safetensors files: name one")
    if out.exists():
        raise OutputError(f"{out}: is there already: choose a new file")
    there = checkpoint.exists()
    if there and not resume:
        raise OutputError(
            f"{checkpoint}: is of a run that was stopped: --resume goes on from it; remove it to"
            " begin anew"
        )
    if resume and not there:
        raise OutputError(f"{checkpoint}: is not there: leave out --resume to begin")
    with said_as_output_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)


@contextmanager
def said_as_output_errors(target: Path) -> Iterator[None]:
    """OSErrors inside, said as OutputErrors about `target`."""
    try:
        yield
    except FedsecError:
        raise
    except OSError as error:
        said = (error.strerror or str(error)).lower()
        raise OutputError(f"{target}: was not written: {said}: write elsewhere") from error


def _is_ours(folder: Path) -> bool:
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(settings, dict) and settings.get("format") == FORMAT


def _beside(target: Path, why: str) -> Path:
    return target.with_name(f".{target.name[:100]}.{uuid.uuid4().hex[:8]}.{why}")


def _swap_in(temporary: Path, target: Path) -> None:
    """Rename the new folder into place; an old one goes aside first and is removed last."""
    for path in sorted(temporary.rglob("*"), reverse=True):
        _sync(path)
    if not target.exists():
        temporary.rename(target)
    else:
        old = _beside(target, "old")
        target.rename(old)
        try:
            temporary.rename(target)
        except BaseException:
            old.rename(target)
            raise
        shutil.rmtree(old, ignore_errors=True)
    _sync(target.parent)


def _sync(path: Path) -> None:
    """Ask the disk to keep it, so that a full one complains now."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # not every file system can
            raise
    finally:
        os.close(handle)
