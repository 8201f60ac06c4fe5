"""What do Ray, disks and networks cost a fit of very many votes, and is the answer the same?

    python -m benchmarks.scale [--parts equal coding sweeps disk kills workers network] [--small]

equal    every method on 1, 2 and 4 actors against one process, on public votes
coding   rows a second of `code_votes`
sweeps   10^6 to 10^8 votes: seconds a sweep on two local actors and in memory, memory of an actor
disk     3 x 10^8 votes with 2 GB
kills    an actor killed in a sweep, the driver killed in a fit: same answer, seconds lost
workers  10^6 workers with ten classes
network  two Ray nodes, 50 ms and 100 Mbit/s apart, against a plan on paper; needs root

Alone on the machine, please, with two cores, 16 GB of memory and 30 GB of disk. Each part says in
`benchmarks/scaling` what it measures. A run that is interrupted goes on where it was (`--work`); a
part that is measured anew replaces that part of the result alone.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks.inversion.cells import Cells
from benchmarks.machine import RESULTS, ROOT, record, write_part
from benchmarks.scaling import coding, disk, equal, kills, network, sweeps, workers
from benchmarks.scaling.tables import markdown

BUILD = ROOT / "build" / "benchmarks"
PARTS: dict[str, Any] = {
    "equal": equal, "coding": coding, "sweeps": sweeps, "disk": disk, "kills": kills,
    "workers": workers, "network": network,
}  # fmt: skip
SMALL = {
    "equal_sweeps": 3, "coding_votes": 200_000, "votes": [100_000, 400_000], "sweeps": 4,
    "disk_votes": 2_000_000, "disk_memory": 500_000_000, "disk_sweeps": 2,
    "kill_votes": 1_000_000, "kill_sweeps": 60, "note_seconds": 2.0, "many_workers": 20_000,
    "network_votes": 100_000, "network_workers": [2_000], "network_sweeps": 4,
}  # fmt: skip


def options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--set", default="labelme", help="equal: public votes")
    parser.add_argument("--equal-sweeps", type=int, default=30)
    parser.add_argument("--coding-votes", type=int, default=10**7)
    parser.add_argument("--votes", type=int, nargs="+", default=[10**6, 10**7, 10**8])
    parser.add_argument("--workers", type=int, default=2000, help="sweeps, disk, kills")
    parser.add_argument("--votes-a-worker", type=int, default=500, help="sweeps: a second crowd")
    parser.add_argument("--sweeps", type=int, default=10)
    parser.add_argument("--turns", type=int, default=1, help="sweeps: fits in each home")
    parser.add_argument("--disk-votes", type=int, default=3 * 10**8)
    parser.add_argument("--disk-memory", type=int, default=2 * 10**9)
    parser.add_argument("--disk-sweeps", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="disk: leave the coded folder")
    parser.add_argument("--kill-votes", type=int, default=2 * 10**7)
    parser.add_argument("--kill-sweeps", type=int, default=220)
    parser.add_argument("--note-seconds", type=float, default=30.0, help="kills")
    parser.add_argument("--many-workers", type=int, default=10**6)
    parser.add_argument("--network-votes", type=int, default=10**6)
    parser.add_argument("--network-workers", type=int, nargs="+", default=[5_000, 20_000])
    parser.add_argument("--network-sweeps", type=int, default=9)
    parser.add_argument("--delay", type=float, default=0.05, help="seconds, one way")
    parser.add_argument("--rate", type=float, default=1e8, help="bits a second")
    parser.add_argument("--folder", type=Path, default=BUILD / "scale", help="for votes")
    parser.add_argument("--work", type=Path, help="file that rows are kept in")
    parser.add_argument("--small", action="store_true", help="a rehearsal into build/benchmarks")
    given = parser.parse_args()
    if given.small:
        vars(given).update(SMALL)
    return given


def measure(name: str, given: argparse.Namespace, cells: Cells) -> dict[str, Any]:
    """One part."""
    part = PARTS[name]
    head = record("", [0])
    rows = cells.rows(name, part.keys(given), part.cell, 1)
    rows = [{key: value for key, value in row.items() if key != "work"} for row in rows]
    return {
        **{key: head[key] for key in ("date", "machine", "load_at_start", "versions")},
        "found": part.summary(rows),
    }


def main() -> None:
    given = options()
    folder = BUILD if given.small else RESULTS
    cells = Cells(given.work or BUILD / "scale.jsonl")
    path = folder / "scale.json"
    question, result = __doc__.strip().splitlines()[0], {}
    for name in given.parts:
        result = write_part(path, question, name, measure(name, given, cells))
        path.with_suffix(".md").write_text(markdown(result), encoding="utf-8")
    print(markdown(result))
    print(f"written: {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
