"""Results on disk: a folder or a file appears whole, or not at all."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from crowdlearn.errors import CrowdlearnError, OutputError

ADVICE = {
    errno.ENOSPC: "the disk is full: free some space, or write elsewhere",
    errno.EDQUOT: "the disk quota is used up: free some space, or write elsewhere",
    errno.EROFS: "the file system is read-only: write elsewhere",
    errno.EACCES: "you may not write there: write elsewhere",
    errno.EPERM: "you may not write there: write elsewhere",
    errno.ENOENT: "there is no such place: write elsewhere",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
}


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place when the block ends without an error.

    On any error, or when interrupted, it is removed and `path` stays as it was. An earlier result
    of ours at `path` (its summary.json has a "format") is replaced as a whole. Raises OutputError
    where `path` is a file or holds anything else, and where the disk refuses.
    """
    target = Path(path).expanduser()
    with _said_as_output_errors(target):
        check_folder(path)
        target = target.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = _beside(target, "partial")
        temporary.mkdir()
        try:
            yield temporary
            _flush(temporary)
            _swap_in(temporary, target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


@contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """The name of a temporary file that replaces `path` when the block ends without an error.

    Raises OutputError where `path` is a directory, and where the disk refuses.
    """
    target = Path(path).expanduser()
    with _said_as_output_errors(target):
        target = target.resolve()
        if target.is_dir():
            raise OutputError(f"{target}: is a directory: name a file in it")
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = _beside(target, "partial")
        try:
            yield temporary
            _flush(temporary)
            os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_csv(table: pa.Table, path: str | Path) -> None:
    """Write a table as UTF-8 CSV with every string quoted; whole or not at all.

    Raises OutputError where the disk refuses.
    """
    from pyarrow import csv

    with new_file(path) as temporary:
        csv.write_csv(table, temporary)


def check_folder(path: str | Path) -> None:
    """Raise OutputError where `new_folder` would: before long work, not after it."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(path)):
        raise OutputError(f"{path}: is a URL: write to a folder on disk, and copy it from there")
    target = Path(path).expanduser()
    if target.is_dir():
        if any(target.iterdir()) and not _is_ours(target):
            raise OutputError(
                f"{target}: holds other files, which are not overwritten: choose a new folder"
            )
    elif target.exists():
        raise OutputError(f"{target}: is a file: choose a folder that does not exist yet")


def _is_ours(folder: Path) -> bool:
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(summary, dict) and "format" in summary


def _beside(target: Path, why: str) -> Path:
    return target.with_name(f".{target.name[:100]}.{uuid.uuid4().hex[:8]}.{why}")


def _swap_in(temporary: Path, target: Path) -> None:
    """Rename the new folder into place; the old one goes aside first and is removed last."""
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


def _flush(path: Path) -> None:
    """Ask the disk to keep what was written, so that a full one complains now."""
    for below in sorted(path.rglob("*"), reverse=True) if path.is_dir() else []:
        _sync(below)
    _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # not every file system can
            raise
    finally:
        os.close(handle)


@contextmanager
def _said_as_output_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except CrowdlearnError:
        raise
    except OSError as error:
        advice = ADVICE.get(error.errno or 0, f"{error.strerror or error}")
        raise OutputError(f"{target}: was not written: {advice}") from error
