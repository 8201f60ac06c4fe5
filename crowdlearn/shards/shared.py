"""Memory that a driver shares with the actors on its machine: one table, and each actor's counts.

Through Ray's object store a table of a megabyte costs more messages than bytes; here it costs a
copy. The memory has no name in any folder: it belongs to the driver's process, and ends with it.
An actor finds it among the open files of that process, and looks whether it is the right one.
"""

from __future__ import annotations

import mmap
import os
import secrets
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

NAME = "crowdlearn"
HEAD = 64  # bytes: a secret number first
WIDE = 8  # bytes a cell, at most


@dataclass(frozen=True)
class Place:
    """Where the memory is found: a machine of the cluster, a process there, its open file."""

    node: str
    pid: int
    file: int
    secret: bytes
    n_cells: int  # of a table, and of counts
    n_actors: int


@dataclass(frozen=True)
class Table:
    """An argument that lies in the memory that is shared."""

    dtype: str


class Shared:
    """The memory, as one process sees it."""

    def __init__(self, place: Place, memory: mmap.mmap) -> None:
        self.place, self.memory = place, memory

    @classmethod
    def new(cls, node: str, n_cells: int, n_actors: int) -> Shared | None:
        """New memory of this process; None on a system that has none without a name."""
        if not hasattr(os, "memfd_create"):
            return None
        file = os.memfd_create(NAME)
        n_bytes = HEAD + WIDE * n_cells * (1 + n_actors)
        os.ftruncate(file, n_bytes)
        place = Place(node, os.getpid(), file, secrets.token_bytes(16), n_cells, n_actors)
        memory = mmap.mmap(file, n_bytes)
        memory[: len(place.secret)] = place.secret
        return cls(place, memory)

    @classmethod
    def found(cls, place: Place | None, node: str) -> Shared | None:
        """The memory at a place, seen from a process on this machine; None where it is not."""
        if place is None or place.node != node:
            return None
        path = f"/proc/{place.pid}/fd/{place.file}"
        try:
            if not os.readlink(path).startswith(f"/memfd:{NAME}"):
                return None  # another process, of another machine after all
            with open(path, "r+b", buffering=0) as file:
                memory = mmap.mmap(file.fileno(), 0)
        except OSError:
            return None
        return cls(place, memory) if memory[: len(place.secret)] == place.secret else None

    def table(self, dtype: Any) -> Float[np.ndarray, " cell"]:
        """The table, as numbers of this type."""
        found: np.ndarray = np.frombuffer(self.memory, dtype, self.place.n_cells, HEAD)
        return found

    def counts(self, actor: int) -> Float[np.ndarray, " cell"]:
        """The counts of an actor."""
        start = HEAD + WIDE * self.place.n_cells * (1 + actor)
        found: np.ndarray = np.frombuffer(self.memory, np.float64, self.place.n_cells, start)
        return found

    def fits(self, one: Any) -> bool:
        """Whether it is a table as there is place for."""
        return (
            isinstance(one, np.ndarray)
            and one.shape == (self.place.n_cells,)
            and one.itemsize <= WIDE
        )

    def put(self, table: Float[np.ndarray, " cell"]) -> Table:
        """Write a table; the argument that stands for it."""
        self.table(table.dtype)[:] = table
        return Table(table.dtype.str)

    def close(self) -> None:
        """Let the file of this process go; views of the memory stay good."""
        os.close(self.place.file)
