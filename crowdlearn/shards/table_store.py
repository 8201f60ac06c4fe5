"""Tables cut by workers, with one process: blocks in memory, or files; and as files of a note."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crowdlearn.shards.cuts import Held, TableRef


class TableStore:
    """Tables by name, each a list of blocks."""

    def __init__(self, on_disk: bool) -> None:
        self.on_disk = on_disk
        self.by_name: dict[str, list[Any]] = {}
        self._folder: Path | None = None

    def add(self, name: str, block: np.ndarray) -> None:
        """The next block of a table."""
        blocks = self.by_name.setdefault(name, [])
        if self.on_disk:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="crowdlearn-"))
            file = file_of(self._folder, name, len(blocks))
            np.save(file, block)
            blocks.append(file)
        else:
            blocks.append(block)

    def held(self, name: str) -> Held:
        """A table, to be read a block at a time."""
        return Held(self.by_name[name])

    def given(self, one: Any) -> Any:
        """An argument of an operation: a table where it names one."""
        return self.held(one.name) if isinstance(one, TableRef) else one

    def forget(self, name: str) -> bool:
        """Let a table go; whether there was one."""
        blocks = self.by_name.pop(name, None)
        for one in blocks or []:
            if isinstance(one, Path):
                one.unlink(missing_ok=True)
        return blocks is not None

    def dump(self, folder: str, names: Sequence[str]) -> None:
        """Write those of these names that are tables, a file a block."""
        for name in set(names) & set(self.by_name):
            for block, cells in enumerate(self.held(name).blocks()):
                np.save(file_of(folder, name, block), cells)

    def close(self) -> None:
        """Remove what is on disk."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def file_of(folder: str | Path, name: str, block: int) -> Path:
    """Where a block of a table is written."""
    return Path(folder) / f"{name}.block{block}.npy"


def files_of(folder: str | Path, name: str) -> list[Path]:
    """All blocks of a table that was written."""
    found: list[Path] = []
    while (file := file_of(folder, name, len(found))).exists():
        found.append(file)
    return found


def kinds_of(folder: str | Path, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Which of these names were written as tables, and which as arrays."""
    tables = [name for name in names if file_of(folder, name, 0).exists()]
    return tables, [name for name in names if name not in tables]
