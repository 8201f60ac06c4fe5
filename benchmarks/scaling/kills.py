"""What does a kill cost? An actor in a sweep, the driver in a fit that is noted, all by SIGKILL.

Dawid-Skene on two local actors. Seconds lost are those of all processes of the fit, start included,
less those of the same fit undisturbed. An actor is killed in the middle of a sweep. The driver is
killed when it has done a third of its sweeps and a third of the time between two notes has gone
since the first; then, nothing of the first call being left, the same call is made again.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from subprocess import Popen
from typing import Any

import psutil

from benchmarks.inversion.cells import Key, Row
from benchmarks.scaling import fit
from benchmarks.scaling.processes import actors, tree
from benchmarks.scaling.sweeps import CORES
from benchmarks.scaling.votes import coded

LONGEST = 600.0  # seconds to wait for what should come
GONE_BY = 20.0  # seconds that Ray's processes have to go after their driver


def keys(given: Any) -> list[Key]:
    """One size."""
    return [
        {"votes": given.kill_votes, "workers": given.workers, "classes": 10,
         "sweeps": given.kill_sweeps, "note_seconds": given.note_seconds,
         "work": str(given.folder)}
    ]  # fmt: skip


def cell(key: Key) -> Row:
    """Undisturbed, an actor killed, the driver killed."""
    place = Path(key["work"])
    with (
        coded(key["votes"], key["workers"], key["classes"], parent=place) as folder,
        tempfile.TemporaryDirectory(dir=place) as notes,
    ):
        runs = {}
        for name, run in (("none", whole), ("actor", actor_killed), ("driver", driver_killed)):
            here = Path(notes) / name
            here.mkdir()
            what = {
                "folder": str(folder), "where": "ray", "actors": CORES, "sweeps": key["sweeps"],
                "marks": str(here / "marks"), "out": str(here / "out"),
                "note_seconds": key["note_seconds"],
            }  # fmt: skip
            runs[name] = run(what, here)
        sound = runs["none"]["seconds"]
        return {
            "a sweep": runs["none"]["a sweep"],
            "runs": {
                name: {**run, "lost": run["seconds"] - sound,
                       "difference": fit.difference(Path(notes) / "none" / "out",
                                                    Path(notes) / name / "out")}
                for name, run in runs.items()
            },
        }  # fmt: skip


def whole(what: dict[str, Any], here: Path) -> Row:
    """Nothing happens to it."""
    found = fit.answer(fit.start(what))
    return {"seconds": found["seconds"], "a sweep": found["a sweep"]}


def actor_killed(what: dict[str, Any], here: Path) -> Row:
    """An actor goes in the middle of a sweep, a third of the way, and another comes."""
    process = fit.start(what)
    place = what["sweeps"] // 3
    wait_for(lambda: n_marks(what) >= place, process)
    before, at = actors(process.pid), time.perf_counter()
    wait_for(lambda: n_marks(what) > place, process)
    time.sleep(min((time.perf_counter() - at) / 2, 5.0))
    os.kill(before[0], signal.SIGKILL)
    done = n_marks(what)
    wait_for(lambda: set(actors(process.pid)) - set(before), process)
    return {"seconds": fit.answer(process)["seconds"], "killed after sweep": done}


def driver_killed(what: dict[str, Any], here: Path) -> Row:
    """The driver goes after a note; the same call again."""
    what = {**what, "checkpoint": str(here / "notes")}
    process, began = fit.start(what), time.perf_counter()
    noted, place = here / "notes" / "noted.json", what["sweeps"] // 3
    wait_for(lambda: noted.exists() and n_marks(what) >= place, process)
    time.sleep(what["note_seconds"] / 3)
    started = tree(process.pid)
    if process.poll() is not None:
        raise RuntimeError("the fit was over before it could be killed: give more sweeps")
    process.kill()
    first = time.perf_counter() - began
    process.wait()
    done = n_marks(what)
    left = gone(started)
    found = fit.answer(fit.start(what))
    return {
        "seconds": first + found["seconds"], "killed after sweep": done, "processes left": left,
    }  # fmt: skip


def gone(processes: list[psutil.Process]) -> list[str]:
    """Titles of a driver's processes that are there after a while; these are then ended."""
    _, alive = psutil.wait_procs(processes, timeout=GONE_BY)
    left = []
    for one in alive:
        with suppress(psutil.NoSuchProcess):
            if one.status() != psutil.STATUS_ZOMBIE:
                left.append(" ".join(one.cmdline()).strip()[:40])
                one.kill()
    return left


def n_marks(what: dict[str, Any]) -> int:
    """Sweeps that were done."""
    path = Path(what["marks"])
    return len(path.read_text().splitlines()) if path.exists() else 0


def wait_for(true: Any, process: Popen[str]) -> None:
    """Wait until something is so. Raises RuntimeError where the fit ends before."""
    until = time.perf_counter() + LONGEST
    while not true():
        if process.poll() is not None or time.perf_counter() > until:
            raise RuntimeError(f"the fit ended too early: {process.communicate()[1][-2000:]}")
        time.sleep(0.002)


def summary(rows: list[Row]) -> dict[str, Any]:
    """The row."""
    return {"table": rows}
