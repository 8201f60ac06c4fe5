"""Two machines far apart: does a sweep take what the plan on paper says?

Two Ray nodes in network namespaces of this machine, joined by a slow wire (`wire`), the driver and
an actor in one, the other actor in the other. Compared are the seconds of a sweep with those of
`prediction.predicted_sweep`, whose compute term is measured on this machine without the wire. The
wire itself is probed by plain TCP. Needs root; where that is missing the part says so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil

from benchmarks.inversion.cells import Key, Row
from benchmarks.machine import ONE_THREAD, ROOT
from benchmarks.scaling import fit
from benchmarks.scaling.prediction import of_sizes, predicted_sweep
from benchmarks.scaling.processes import ACTOR
from benchmarks.scaling.sweeps import CORES
from benchmarks.scaling.votes import coded
from benchmarks.scaling.wire import End, why_not, wire

PORT = 6379
RAY = [sys.executable, "-m", "ray.scripts.scripts"]
STARTS_BY = 120.0  # seconds


def keys(given: Any) -> list[Key]:
    """A cell a size of the table."""
    return [
        {"votes": given.network_votes, "workers": n, "classes": 10, "sweeps": given.network_sweeps,
         "delay": given.delay, "rate": given.rate, "work": str(given.folder)}
        for n in given.network_workers
    ]  # fmt: skip


def cell(key: Key) -> Row:
    """The prediction, then the sweeps."""
    reason = why_not()
    if reason is not None:
        return {"skipped": reason}
    size = key["votes"], key["workers"], key["classes"]
    with coded(*size, parent=Path(key["work"])) as folder:
        what = {"folder": str(folder), "where": "ray", "actors": CORES, "sweeps": key["sweeps"]}
        compute = fit.answer(fit.start(what))["a sweep"]
        moved = of_sizes(key["workers"], key["classes"])
        paper = predicted_sweep(**moved, delay=key["delay"], rate=key["rate"], compute=compute)
        with wire(key["delay"], key["rate"]) as (here, there):
            probe = probed(here, there)
            with cluster(here, there):
                marks = folder / "marks"
                joined = {"address": f"{here.address}:{PORT}", "node": here.address}
                before = wired(here)
                process = fit.start(what | joined | {"marks": str(marks)}, here.command())
                actors = placed(process, marks, (here, there))
                found = fit.answer(process)
                through = wired(here) - before
    return {
        "predicted": paper, "measured": found["a sweep"], "sweep seconds": found["sweep seconds"],
        "actors": actors, "probe": probe, "megabytes a sweep": through / key["sweeps"] / 1e6,
        **moved,
    }  # fmt: skip


def probed(here: End, there: End) -> dict[str, float]:
    """What plain TCP gets out of the wire."""
    probe = [sys.executable, "-m", "benchmarks.scaling.probe"]
    server = subprocess.Popen(here.command(*probe, "serve", here.address), cwd=ROOT)
    try:
        time.sleep(2)
        done = subprocess.run(
            there.command(*probe, "ask", here.address),
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
    finally:
        server.kill()
        server.wait()
    found: dict[str, float] = json.loads(done.stdout)
    return found


@contextmanager
def cluster(here: End, there: End) -> Iterator[None]:
    """A Ray node at each end, one core each; gone afterwards."""
    started: list[subprocess.Popen[str]] = []
    with TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as place:
        try:
            for end in (here, there):
                head = ["--head", f"--port={PORT}", "--include-dashboard=false",
                        f"--temp-dir={place}"]  # fmt: skip
                role = head if end is here else [f"--address={here.address}:{PORT}"]
                words = [*RAY, "start", "--block", *role, f"--node-ip-address={end.address}",
                         "--num-cpus=1", f"--object-store-memory={500 << 20}"]  # fmt: skip
                started.append(
                    subprocess.Popen(
                        end.command(*words),
                        cwd=ROOT,
                        text=True,
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                        env={**os.environ, **ONE_THREAD, **fit.QUIET, "PYTHONPATH": str(ROOT)},
                    )  # fmt: skip
                )
                wait_for_node(started[-1], end)
            yield
        finally:
            ended = [*inside(here), *inside(there)]
            for process in ended:
                try:
                    process.kill()
                except psutil.NoSuchProcess:
                    continue
            psutil.wait_procs(ended, timeout=10)
            for node in started:
                node.wait()


def inside(end: End) -> list[psutil.Process]:
    """Processes in the namespace of an end: all are of this benchmark, which made it."""
    done = subprocess.run(
        ["ip", "netns", "pids", end.namespace], capture_output=True, text=True, check=True
    )
    found = []
    for pid in done.stdout.split():
        try:
            found.append(psutil.Process(int(pid)))
        except psutil.NoSuchProcess:
            continue
    return found


def wait_for_node(node: subprocess.Popen[str], end: End) -> None:
    """Until a raylet is there and had time to register. Raises RuntimeError where none comes."""
    until = time.monotonic() + STARTS_BY
    while not any(_title(process).startswith("raylet") for process in inside(end)):
        if node.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"Ray does not start in {end.namespace}")
        time.sleep(0.5)
    time.sleep(5)


def placed(process: subprocess.Popen[str], marks: Path, ends: tuple[End, End]) -> list[int]:
    """How many actors each end has once a sweep is done; one each, else RuntimeError."""
    while process.poll() is None and not marks.exists():
        time.sleep(0.2)
    found = [sum(_title(one).startswith(ACTOR) for one in inside(end)) for end in ends]
    if process.poll() is None and found != [1, 1]:
        process.kill()
        raise RuntimeError(f"the ends have {found} actors, and should have one each")
    return found


def wired(end: End) -> int:
    """Bytes that went through the wire so far, both ways."""
    done = subprocess.run(
        end.command("cat", "/proc/net/dev"), capture_output=True, text=True, check=True
    )
    line = next(one for one in done.stdout.splitlines() if end.namespace in one)
    numbers = line.split(":")[1].split()
    return int(numbers[0]) + int(numbers[8])


def _title(process: psutil.Process) -> str:
    try:
        words = process.cmdline()
    except psutil.Error:
        return ""
    return " ".join([Path(words[0]).name, *words[1:]]) if words else ""


def summary(rows: list[Row]) -> dict[str, Any]:
    """The rows, and measured over predicted."""
    for row in rows:
        if "skipped" not in row:
            row["ratio"] = row["measured"] / row["predicted"]["sum"]
            row["spread"] = float(np.ptp(row["sweep seconds"]))
    return {"table": rows}
