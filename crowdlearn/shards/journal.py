"""What must be done again where a shard was lost: the operations that its arrays are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from crowdlearn.shards.spread import Ref

OVERWRITES = {
    "product": (2,), "mixture": (5, 6), "factorised": (6, 7),
    "cut product": (2,), "cut mixture": (5, 6), "cut factorised": (6, 7),
}  # fmt: skip
"""Operation -> places of arguments that it overwrites without a use of what was there."""


@dataclass(frozen=True)
class Entry:
    """An operation as it was asked for."""

    op: str
    args: tuple[Any, ...]
    creates: tuple[str, ...]

    @property
    def writes(self) -> set[str]:
        """Names of arrays that are different after it."""
        return {one.name for one in self.args if isinstance(one, Ref) and one.changes} | set(
            self.creates
        )

    @property
    def replaces(self) -> set[str]:
        """Names of arrays of which nothing earlier is left."""
        places = OVERWRITES.get(self.op, ())
        return {self.args[k].name for k in places} | set(self.creates)

    @property
    def reads(self) -> set[str]:
        """Names of arrays whose contents it needs."""
        return {one.name for one in self.args if isinstance(one, Ref)} - self.replaces


@dataclass
class Journal:
    """Operations since the shards were empty (or were last noted), and which arrays are alive."""

    entries: list[Entry] = field(default_factory=list)
    alive: set[str] = field(default_factory=set)

    def add(self, op: str, args: Sequence[Any], creates: Sequence[str]) -> None:
        """Note an operation that was done; one that changes nothing is not kept."""
        entry = Entry(op, tuple(args), tuple(creates))
        if entry.writes:
            self.alive |= set(creates)
            self.entries = needed([*self.entries, entry], self.alive)

    def restart(self, folder: str, names: Sequence[str]) -> None:
        """These arrays, all that are alive, can be read from a folder: nothing earlier is kept."""
        self.entries = [Entry("restore", (folder, list(names)), tuple(names))]
        self.alive = set(names)

    def forget(self, name: str) -> None:
        """An array is needed no more."""
        self.alive.discard(name)


def needed(entries: Sequence[Entry], alive: set[str]) -> list[Entry]:
    """Those that what is alive depends on.

    An array that is overwritten must exist beforehand, whatever was in it: so what created it is
    kept too.
    """
    kept: list[Entry] = []
    contents, exist = set(alive), set(alive)
    for entry in reversed(entries):
        if not (entry.writes & contents or set(entry.creates) & exist):
            continue
        kept.append(entry)
        contents = (contents - entry.replaces) | entry.reads
        exist = (exist | entry.replaces | entry.reads) - set(entry.creates)
    return kept[::-1]
