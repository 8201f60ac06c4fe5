"""Do a million workers with ten classes fit into processes of 2 GB? Five votes each, two actors.

Peak is the most resident memory, what is shared with Ray's object store counted for each process;
private is what each has alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.inversion.cells import Key, Row
from benchmarks.scaling.fit import watched
from benchmarks.scaling.sweeps import CORES
from benchmarks.scaling.votes import coded

METHODS = ("dawid-skene", "bcc")
BAR_MIB = 2e9 / 2**20


def keys(given: Any) -> list[Key]:
    """A cell a method."""
    return [
        {"method": method, "votes": 5 * given.many_workers, "workers": given.many_workers,
         "classes": 10, "sweeps": 3, "work": str(given.folder)}
        for method in METHODS
    ]  # fmt: skip


def cell(key: Key) -> Row:
    """The fit, watched."""
    with coded(key["votes"], key["workers"], key["classes"], parent=Path(key["work"])) as folder:
        found, watch = watched(
            {"folder": str(folder), "where": "ray", "method": key["method"], "actors": CORES,
             "sweeps": key["sweeps"], "object_store": 3 << 30}
        )  # fmt: skip
    return {
        "a sweep": found["a sweep"], "seconds": found["seconds"],
        "driver": watch.of("driver"), "actors": watch.of("actor"),
        "idle": watch.of("idle"),
    }  # fmt: skip


def summary(rows: list[Row]) -> dict[str, Any]:
    """The rows, and whether all stay below the bar."""
    peaks = [one["peak"] for row in rows for one in (*row["driver"], *row["actors"], *row["idle"])]
    return {"table": rows, "bar": BAR_MIB, "largest peak": max(peaks)}
