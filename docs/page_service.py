"""Tables of what the service was measured to do, from benchmarks/results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results"


def service_tables() -> str:
    """Load, size and the first page, as `benchmarks/service.py` found them."""
    found = _read("service")
    if found is None:
        return "*Not measured yet. `python -m benchmarks.service` makes these tables.*"
    parts = [_load(found, "load"), _load(found, "paced"), _size(found), _where(found)]
    return "\n\n".join(part for part in parts if part)


def crash_table() -> str:
    """What was left after the kills of `benchmarks/service_crash.py`."""
    found = _read("service_crash")
    if found is None:
        return "*Not measured yet. `python -m benchmarks.service_crash` makes this table.*"
    heads = (
        "kills", "acknowledged votes", "acknowledged answers", "lost", "doubled", "changed",
        "kept state equals the rebuilt one",
    )  # fmt: skip
    rows = [f"| store | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for store in ("sqlite", "postgresql"):
        if store in found:
            cells = [_cell(found[store][head]) for head in heads]
            rows.append(f"| {store} | {' | '.join(cells)} |")
    return "\n".join(rows) + f"\n\n{_where(found)}"


def _load(found: dict[str, Any], kind: str) -> str:
    stores = [name for name in ("sqlite", "postgresql") if f"{kind} {name}" in found]
    if not stores:
        return ""
    of = {name: found[f"{kind} {name}"] for name in stores}
    first = of[stores[0]]
    pause = first["pause"]
    how = f"a pause of {pause:g} s after each round" if pause else "no pause, so all that it can do"
    rows = [
        f"{first['clients']} clients at once for {first['seconds']:g} s, reads and writes mixed, "
        f"{how}; milliseconds at the client:\n",
        f"| request | {' | '.join(f'{n}, p50 | p99' for n in stores)} |",
        "|---" * (1 + 2 * len(stores)) + "|",
    ]
    for name in first["milliseconds"]:
        cells = []
        for store in stores:
            times = of[store]["milliseconds"].get(name, {})
            cells += [_cell(times.get("p50")), _cell(times.get("p99"))]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    said = "; ".join(
        f"{store}: {of[store]['requests a second']:g} requests a second, "
        f"{of[store]['n_errors']} errors, {of[store]['lost']} lost, {of[store]['doubled']} "
        f"doubled, {of[store]['overlapping loans']} of {of[store]['loans']:,} loans overlapping"
        for store in stores
    )
    return "\n".join(rows) + f"\n\n{said}."


def _size(found: dict[str, Any]) -> str:
    if "size" not in found:
        return ""
    size = found["size"]
    rows = ["| with 10^6 items and 5 x 10^6 votes (SQLite) | |", "|---|---|"]
    for name, value in size.items():
        if name == "milliseconds":
            rows += [
                f"| {what}, milliseconds, median (largest) | {t['median']:g} ({t['max']:g}) |"
                for what, t in value.items()
            ]
        elif name == "bytes":
            rows.append(f"| size of the store, GB | {value / 1e9:.2f} |")
        else:
            rows.append(f"| {name} | {value:,} |")
    if "queue page, seconds" in found:
        rows += [
            f"| Queue page, seconds: {visit} | {seconds:g} |"
            for visit, seconds in found["queue page, seconds"].items()
        ]
    return "\n".join(rows)


def _where(found: dict[str, Any]) -> str:
    machine = found["machine"]
    return (
        f"*{found['date']}; {machine['cores']} cores of {machine['cpu']}, "
        f"{machine['memory_gib']} GiB, clients on the same machine; seed {found['seeds'][0]}.*"
    )


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}"


def _read(name: str) -> dict[str, Any] | None:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
