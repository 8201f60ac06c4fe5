"""What the processes of a run hold in memory: a watch beside them, from outside.

peak     most resident memory of a process, as the kernel noted it (VmHWM), pages that it shares
         with others included: what lies in Ray's object store counts for all that look at it
private  what would be free if the process ended (USS)
"""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import psutil

ACTOR = "ray::Holder"  # as Ray titles the processes of `crowdlearn.shards.ray_crew`


class Watch:
    """Looks at a process and all that it started every `seconds`, while the context lasts."""

    def __init__(self, pid: int, seconds: float = 2.0) -> None:
        self.pid, self.seconds = pid, seconds
        self.seen: dict[int, dict[str, Any]] = {}
        self.tree_mib = 0.0  # most resident memory of all together
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def of(self, role: str) -> list[dict[str, Any]]:
        """What processes of a role took at most, by the order of their numbers."""
        return [one for _, one in sorted(self.seen.items()) if one["role"] == role]

    def _look_on(self) -> None:
        while not self._over.is_set():
            self._look()
            self._over.wait(self.seconds)

    def _look(self) -> None:
        together = 0.0
        for process in tree(self.pid):
            try:
                role, held = role_of(process, self.pid), memory(process.pid)
            except (OSError, psutil.Error):
                continue
            together += held["resident"]
            before = self.seen.get(process.pid, {"role": role})
            if role != "idle":
                before["role"] = role
            self.seen[process.pid] = before | {
                key: max(value, before.get(key, 0.0)) for key, value in held.items()
            }
        self.tree_mib = max(self.tree_mib, together)


def tree(pid: int) -> list[psutil.Process]:
    """A process and all that it started and that still are."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def role_of(process: psutil.Process, root: int) -> str:
    """driver, actor (that holds a shard), idle (another worker of Ray), or its program's name."""
    if process.pid == root:
        return "driver"
    title = " ".join(process.cmdline()) or process.name()
    if not title.startswith("ray::"):
        return process.name()
    return "actor" if title.startswith(ACTOR) else "idle"


def actors(pid: int) -> list[int]:
    """Ray's actors below a process."""
    found = []
    for process in tree(pid):
        try:
            if role_of(process, pid) == "actor":
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def memory(pid: int) -> dict[str, float]:
    """MiB of a process."""
    status = (Path("/proc") / str(pid) / "status").read_text()
    rollup = (Path("/proc") / str(pid) / "smaps_rollup").read_text()
    return {
        "resident": _kib(status, "VmRSS") / 1024,
        "peak": _kib(status, "VmHWM") / 1024,
        "private": (_kib(rollup, "Private_Clean") + _kib(rollup, "Private_Dirty")) / 1024,
    }


def _kib(text: str, name: str) -> float:
    found = re.search(rf"^{name}:\s*(\d+) kB", text, re.MULTILINE)
    return float(found[1]) if found else 0.0
