"""How long until the package is there? CPU seconds of the import and of the help text.

    python -m benchmarks.startup [--repeats 5]

Fresh processes, best of the repeats, after one run that fills the bytecode caches.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from typing import Any

from benchmarks.machine import RESULTS, ROOT, record, write_json

COMMANDS = {
    "import crowdlearn": (["-c", "import crowdlearn"], 0.5),
    "crowdlearn --help": (["-m", "crowdlearn", "--help"], 1.0),
}
"""Arguments to Python, and the bar in CPU seconds."""


def cpu_seconds(arguments: list[str]) -> float:
    """CPU time of one process, its start included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(repeats: int) -> dict[str, Any]:
    """Best of the repeats for each command, beside its bar; the bare interpreter for scale."""
    found: dict[str, Any] = {"python alone": {"seconds": min_of(["-c", "pass"], repeats)}}
    for name, (arguments, bar) in COMMANDS.items():
        found[name] = {"seconds": min_of(arguments, repeats), "bar": bar}
    return found


def min_of(arguments: list[str], repeats: int) -> float:
    return min([cpu_seconds(arguments) for _ in range(repeats + 1)][1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    result = record(__doc__.strip().splitlines()[0], [])
    result["commands"] = measure(args.repeats)
    write_json(RESULTS / "startup.json", result)
    for name, row in result["commands"].items():
        print(f"{name:20} {row['seconds']:.3f} CPU s (bar {row.get('bar', '-')})")


if __name__ == "__main__":
    main()
