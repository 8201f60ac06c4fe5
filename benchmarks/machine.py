"""What a result was measured on, and what a process used: stands next to every number.

Only the standard library is imported, so that the peers' environment can use it too.
"""

from __future__ import annotations

import json
import os
import platform
import re
import resource
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = Path(os.environ.get("BENCHMARK_RESULTS", ROOT / "benchmarks" / "results"))
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
PACKAGES = (
    "crowdlearn",
    "numpy",
    "scipy",
    "numba",
    "pyarrow",
    "torch",
    "jax",
    "numpyro",
    "arviz",
    "crowd-kit",
    "pandas",
    "scikit-learn",
    "flwr",
    "ray",
    "opacus",
)
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}
"""Environment in which a process does its sums on one thread."""


def machine() -> dict[str, Any]:
    """Processor, cores that this process may use, memory and system."""
    return {
        "cpu": _first_match("/proc/cpuinfo", r"model name\s*:\s*(.+)") or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": _first_match("/etc/os-release", r'PRETTY_NAME="(.+)"') or platform.system(),
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Versions of the packages that a benchmark may use and that this environment has."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def peer_versions() -> dict[str, str]:
    """`versions` of the peers' environment; empty where there is none."""
    if not PEERS_PYTHON.exists():
        return {}
    code = "import json; from benchmarks.machine import versions; print(json.dumps(versions()))"
    done = subprocess.run(
        [PEERS_PYTHON, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found: dict[str, str] = json.loads(done.stdout)
    found.pop("crowdlearn", None)  # seen from the repository's root, but not used
    return found


def record(question: str, seeds: list[int]) -> dict[str, Any]:
    """The head of a result: the question, when, where, and with what it was asked."""
    return {
        "question": question,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine(),
        "load_at_start": round(os.getloadavg()[0], 2),
        "versions": versions(),
        "peer_versions": peer_versions(),
        "seeds": seeds,
    }


def write_json(path: Path, result: dict[str, Any]) -> None:
    """Write a result, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(path.name + ".part")
    half.write_text(json.dumps(result, indent=1) + "\n")
    half.replace(path)


def write_part(path: Path, question: str, name: str, found: dict[str, Any]) -> dict[str, Any]:
    """Replace one part of a result, as its file is now; the whole of it.

    Runs side by side, of a part each, so keep each other's.
    """
    result: dict[str, Any] = {"parts": {}}
    if path.exists():
        result = json.loads(path.read_text(encoding="utf-8"))
    result["question"] = question
    result["parts"][name] = found
    write_json(path, result)
    return result


def rss_mib() -> float:
    """Resident memory of this process now, MiB."""
    return float(_first_match("/proc/self/status", r"VmRSS:\s*(\d+) kB") or 0) / 1024


def reset_peak() -> bool:
    """Forget the peak of resident memory so far; False where the system does not allow it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_mib() -> float:
    """Most resident memory since the last `reset_peak` (else since the start), MiB."""
    high = _first_match("/proc/self/status", r"VmHWM:\s*(\d+) kB")
    if high is None:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return float(high) / 1024


def _first_match(path: str, pattern: str) -> str | None:
    try:
        found = re.search(pattern, Path(path).read_text())
    except OSError:
        return None
    return found.group(1).strip() if found else None


def dated(result: dict[str, Any]) -> str:
    """When the parts of a result were measured, which may be on different days."""
    dates = result["dates"]
    if len(set(dates.values())) == 1:
        return str(next(iter(dates.values())))
    return ", ".join(f"{part}: {date}" for part, date in dates.items())
