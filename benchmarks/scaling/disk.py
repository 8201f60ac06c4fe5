"""Do votes that are larger than the memory given fit one machine, and what does a sweep cost then?

Buckets take turns (`memory`), and the arrays of their items lie on disk beside them. Peak is the
most resident memory of the process, which has no children. Pages that the system keeps of files are
not counted: they are its own, and go when others need the memory. In-memory seconds for a million
votes are those of the part `sweeps`, where it was run at the same number of workers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.inversion.cells import Key, Row
from benchmarks.scaling.fit import watched
from benchmarks.scaling.sweeps import CORES
from benchmarks.scaling.votes import coded

BAR_MIB = 2.5e9 / 2**20


def keys(given: Any) -> list[Key]:
    """One size."""
    return [
        {"votes": given.disk_votes, "workers": given.workers, "classes": 10,
         "memory": given.disk_memory, "sweeps": given.disk_sweeps, "work": str(given.folder),
         "keep": given.keep}
    ]  # fmt: skip


def cell(key: Key) -> Row:
    """The votes, then the fit, in fresh processes."""
    place = Path(key["work"])
    size = key["votes"], key["workers"], key["classes"]
    with coded(*size, parent=place, keep=key["keep"]) as folder:
        found, watch = watched(
            {"folder": str(folder), "where": "turns", "memory": key["memory"],
             "sweeps": key["sweeps"], "threads": CORES}
        )  # fmt: skip
        on_disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {
        "a sweep": found["a sweep"], "sweep seconds": found["sweep seconds"],
        "until first sweep": found["until first sweep"], "seconds": found["seconds"],
        "peak": max(one["peak"] for one in watch.of("driver")), "tree": watch.tree_mib,
        "disk": on_disk / 2**20,
    }  # fmt: skip


def summary(rows: list[Row]) -> dict[str, Any]:
    """The row, and the bar of its peak."""
    return {"table": rows, "bar": BAR_MIB}
