"""A crew whose fit goes on after a crash: what operations gave, and from time to time all arrays.

A fit is a fixed course of operations, given its settings and seed. So it is begun again as it was;
operations up to the last note give what they gave, without any work, then the arrays are read back.
An operation that is another one than that noted belongs to another fit, and is refused.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from crowdlearn.errors import SettingsError
from crowdlearn.shards.cuts import Coins, Counted, PerWorker, TableRef
from crowdlearn.shards.spread import Ref, Uniform
from crowdlearn.sweeps import Sums

SECONDS = 30.0  # between two notes of all arrays, at least


class NotedCrew:
    """A crew that keeps a log in a folder, and goes on from one that is there."""

    def __init__(self, crew: Any, folder: str) -> None:
        self.crew, self.folder = crew, Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.at, self.alive = 0, set[str]()
        self.known, self.names, self.noted_at = self._opened()
        self.last = time.monotonic()

    def name(self) -> str:
        """A name for a new array."""
        return str(self.crew.name())

    def call(self, op: str, args: Sequence[Any], creates: Sequence[str] = ()) -> list[Any]:
        """Do an operation, or give what it gave; see `spread.Crew`."""
        return self._done(op, args, creates, lambda: self.crew.call(op, args, creates))

    def _done(
        self, op: str, args: Sequence[Any], creates: Sequence[str], do: Callable[[], list[Any]]
    ) -> list[Any]:
        digest = [op, _digest(args), list(creates)]
        self.alive |= set(creates)
        if self.at < self.noted_at:
            found = self._remembered(digest)
        else:
            self._read_back()
            found = do()
            self._remember(digest, found)
        self.at += 1
        if self.at > self.noted_at and time.monotonic() - self.last >= SECONDS:
            self._note()
        return found

    def tabulate(
        self, how: str, counts: Counted, given: Sequence[Any], name: str | None
    ) -> list[np.ndarray]:
        """Make something of counts, or give what was said of them; see `spread.Crew`."""
        about = [counts.kind, *counts.args, counts.scale, *given]
        creates = [] if name is None else [name]
        return self._done(how, about, creates, lambda: self.crew.tabulate(how, counts, given, name))

    def block(self, name: str, block: int) -> np.ndarray:
        """A block of a table."""
        self._read_back()
        found: np.ndarray = self.crew.block(name, block)
        return found

    def forget(self, name: str) -> None:
        """Let an array go."""
        self.alive.discard(name)
        self.crew.forget(name)

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        """An array's entries of these buckets."""
        self._read_back()
        found: np.ndarray = self.crew.read(name, start, stop)
        return found

    def _read_back(self) -> None:
        """The noted arrays, once all that was noted has been given."""
        if self.at == self.noted_at > 0:
            self.crew.restore(str(self._arrays(self.at)), self.names)
            self.noted_at = 0

    def _opened(self) -> tuple[list[Any], list[str], int]:
        """Operations, names of arrays, and number of operations of the last note."""
        head = self.folder / "noted.json"
        if not head.exists():
            return [], [], 0
        said = json.loads(head.read_text())
        lines = (self.folder / "log.jsonl").read_text().splitlines()[: said["at"]]
        (self.folder / "log.jsonl").write_text("".join(f"{line}\n" for line in lines))
        return [json.loads(line) for line in lines], list(said["names"]), int(said["at"])

    def _remembered(self, digest: list[Any]) -> list[Any]:
        if self.known[self.at] != digest:
            raise SettingsError(
                f"{self.folder}: is the checkpoint of another fit (step {self.at + 1} was"
                f" {self.known[self.at][0]!r}): give the same votes, method, settings and seed, or"
                " another folder"
            )
        with np.load(self.folder / f"{self.at:06d}.npz") as file:
            return _unpacked(dict(file))

    def _remember(self, digest: list[Any], found: list[Any]) -> None:
        np.savez(self.folder / f"{self.at:06d}.npz", **_packed(found))  # type: ignore[arg-type]
        with open(self.folder / "log.jsonl", "a") as file:
            file.write(json.dumps(digest) + "\n")

    def _arrays(self, at: int) -> Path:
        return self.folder / f"arrays-{at:06d}"

    def _note(self) -> None:
        """Write all arrays; the note before stands until this one is whole."""
        new, names = self._arrays(self.at), sorted(self.alive)
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        self.crew.dump(str(new), names)
        head = self.folder / "noted.json"
        temporary = head.with_suffix(".partial")
        temporary.write_text(json.dumps({"at": self.at, "names": names}))
        os.replace(temporary, head)
        for old in self.folder.glob("arrays-*"):
            if old != new:
                shutil.rmtree(old, ignore_errors=True)
        self.last = time.monotonic()


def _digest(args: Sequence[Any]) -> list[Any]:
    """The arguments, so that another fit's are told from them."""
    out: list[Any] = []
    for one in args:
        if isinstance(one, Ref):
            out.append([one.name, one.changes])
        elif isinstance(one, TableRef):
            out.append(one.name)
        elif isinstance(one, PerWorker | Coins):
            rows = one.rows if isinstance(one, PerWorker) else one.ability
            out += _digest([rows])
        elif isinstance(one, Uniform):
            out.append([list(one.entropy), one.of])
        elif isinstance(one, np.ndarray):
            out.append([list(one.shape), zlib.crc32(np.ascontiguousarray(one).data)])
        elif callable(one):
            out.append(getattr(one, "__qualname__", type(one).__name__))
        else:
            out.append(json.loads(json.dumps(one, default=float)))
    return out


def _packed(found: Sequence[Any]) -> dict[str, np.ndarray]:
    """Results of shards as named arrays."""
    bag: dict[str, np.ndarray] = {"n": np.array(len(found))}
    for k, one in enumerate(found):
        if isinstance(one, Sums):
            bag |= {f"{k}.{f.name}": np.asarray(getattr(one, f.name)) for f in fields(Sums)}
        elif one is not None:
            bag[f"{k}"] = np.asarray(one)
    return bag


def _unpacked(bag: dict[str, np.ndarray]) -> list[Any]:
    found: list[Any] = []
    for k in range(int(bag["n"])):
        if f"{k}.counts" in bag:
            own: dict[str, Any] = {f.name: bag[f"{k}.{f.name}"] for f in fields(Sums)}
            found.append(Sums(**own | {n: float(own[n]) for n in ("bound", "change")}))
        else:
            found.append(bag.get(f"{k}"))
    return found
