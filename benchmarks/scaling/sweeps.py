"""What does a sweep cost on Ray beside one on this machine, and how does it grow with the votes?

Dawid-Skene, ten classes, five votes an item; each fit in a fresh process. On this machine: all
votes in memory, a thread a core. On Ray: as many actors of one thread. Both in turn, so that each
size has both from the same minutes.

Memory is that of the actors, beside what they hold: their votes (8 bytes, and 8 an item), the
posterior of their items, and the tables of the workers. It is measured in a fit of its own: to look
at a large process slows it down.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inversion.cells import Key, Row
from benchmarks.scaling import fit
from benchmarks.scaling.votes import coded

CORES = 2
MIB = 1 << 20


def keys(given: Any) -> list[Key]:
    """A cell a size; the largest also with workers in proportion to its votes."""
    crowds = [(n, given.workers) for n in given.votes]
    crowds.append((max(given.votes), max(given.votes) // given.votes_a_worker))
    return [
        {"votes": n_votes, "workers": n_workers, "classes": 10, "sweeps": given.sweeps,
         "turns": given.turns, "work": str(given.folder)}
        for n_votes, n_workers in crowds
    ]  # fmt: skip


def cell(key: Key) -> Row:
    """Both homes in turn, on the same votes."""
    seconds: dict[str, list[float]] = {"memory": [], "ray": []}
    with coded(key["votes"], key["workers"], key["classes"], parent=Path(key["work"])) as folder:
        os.sync()  # else a core writes to disk while the first fit is timed
        what = {"folder": str(folder), "sweeps": key["sweeps"], "actors": CORES, "threads": CORES}
        for _ in range(key["turns"]):
            for where in seconds:
                found = fit.answer(fit.start(what | {"where": where}))
                seconds[where] += found["sweep seconds"]
        _, watch = fit.watched(what | {"where": "ray"})
    return {
        "seconds": {name: float(np.median(each)) for name, each in seconds.items()},
        "all seconds": seconds,
        "actors": watch.of("actor"), "driver": watch.of("driver"), "holds": holds(key),
    }  # fmt: skip


def holds(key: Key) -> dict[str, float]:
    """MiB of what an actor has to keep, of `CORES`."""
    cells = key["workers"] * key["classes"] ** 2
    wide = 4 if cells >= 1 << 17 else 8
    items = key["votes"] // 5
    return {
        "votes": (8 * key["votes"] + 8 * items) / CORES / MIB,
        "posterior": wide * items * key["classes"] / CORES / MIB,
        "tables": (wide + 8) * cells / MIB,
    }


def summary(rows: list[Row]) -> dict[str, Any]:
    """Ratio, and seconds a sweep for a million votes beside those of the largest size."""
    fixed = rows[:-1]
    last = fixed[-1]
    per_vote = last["seconds"]["ray"] / last["votes"]
    slope, ground = line(fixed)
    table = [
        {"votes": row["votes"], "workers": row["workers"], **row["seconds"],
         "ratio": row["seconds"]["ray"] / row["seconds"]["memory"],
         "a million": row["seconds"]["ray"] / row["votes"] * 1e6,
         "beside linear": row["seconds"]["ray"] / row["votes"] / per_vote,
         "beside the line": row["seconds"]["ray"] / (ground + slope * row["votes"]),
         "private": max((one["private"] for one in row["actors"]), default=None),
         "peak": max((one["peak"] for one in row["actors"]), default=None),
         "driver": max((one["private"] for one in row["driver"]), default=None),
         "holds": row["holds"], "sweeps": len(row["all seconds"]["ray"])}
        for row in rows
    ]  # fmt: skip
    return {"table": table, "line": {"seconds a million votes": slope * 1e6, "seconds": ground}}


def line(rows: list[Row]) -> tuple[float, float]:
    """Seconds a vote, and seconds of a sweep without votes: through smallest and largest."""
    if len(rows) < 2:
        return rows[0]["seconds"]["ray"] / rows[0]["votes"], 0.0
    (n0, s0), (n1, s1) = ((row["votes"], row["seconds"]["ray"]) for row in (rows[0], rows[-1]))
    slope = (s1 - s0) / (n1 - n0)
    return slope, s0 - slope * n0
