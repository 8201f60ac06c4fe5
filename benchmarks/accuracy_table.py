"""Rows of the accuracy benchmark as a summary and as Markdown tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.truth_sets import DERIVED, INDEPENDENT, SETS, spread

Row = dict[str, Any]
SCORES = ("error", "log_loss", "brier", "ece", "seconds")


def summary(rows: list[Row]) -> dict[str, Any]:
    """For every method and score: mean over the independent sets, with its spread over seeds.

    `sets` says how many sets have the score; a mean over fewer than all is not comparable.
    """
    return {
        method: {score: _mean_over_sets(rows, method, score) for score in SCORES}
        for method in _methods(rows)
    }


def _mean_over_sets(rows: list[Row], method: str, score: str) -> dict[str, Any] | None:
    """Mean over sets for each seed (a method without seeds has one), then over seeds."""
    values = {name: _values(rows, method, name, score) for name in INDEPENDENT}
    values = {name: found for name, found in values.items() if found}
    if not values:
        return None
    n_seeds = max(len(found) for found in values.values())
    of_seed = [np.mean([v[min(s, len(v) - 1)] for v in values.values()]) for s in range(n_seeds)]
    return {**spread([float(v) for v in of_seed]), "sets": len(values)}


def _values(rows: list[Row], method: str, name: str, score: str) -> list[float]:
    """One value a seed; empty where the score is missing."""
    found = [row for row in rows if row["method"] == method and row["set"] == name]
    found.sort(key=lambda row: row["seed"])
    return [row[score] for row in found if row.get(score) is not None]


def markdown(result: dict[str, Any]) -> str:
    """The whole result as text: where from, the means, then one table a score."""
    rows = result["rows"]
    parts = [
        "# Accuracy on public votes\n",
        _where_from(result),
        _means(result["summary"]),
        _per_set(rows, "error", "Error, %", lambda v: f"{100 * v:.2f}"),
        _per_set(rows, "log_loss", "Log loss, nats", lambda v: f"{v:.3f}"),
        _per_set(rows, "ece", "Expected calibration error", lambda v: f"{v:.3f}"),
        _per_set(rows, "seconds", "CPU seconds of a fit", lambda v: f"{v:.2f}"),
        _failures(rows),
    ]
    return "\n".join(parts)


def _where_from(result: dict[str, Any]) -> str:
    machine = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    peers = ", ".join(f"{name} {version}" for name, version in result["peer_versions"].items())
    return (
        f"{result['date']}; {machine['cores']} cores of {machine['cpu']}, "
        f"{machine['memory_gib']} GiB, {machine['system']}, Python {machine['python']}; "
        f"{versions}. "
        f"Seeds {result['seeds']}; at most {result['cpu_limit_seconds']} CPU seconds a fit. "
        f"`crowdkit.*` ran with {peers}. "
        "Ties count fractionally. Every method at its own defaults; none sees the truth. "
        "± is the standard deviation over seeds, for methods that draw.\n"
    )


def _means(means: dict[str, Any]) -> str:
    """Means over the independent sets; one over fewer sets is in brackets with their number."""
    head = (
        f"## Means over {len(INDEPENDENT)} independent sets\n\n"
        f"`{'`, `'.join(DERIVED)}` are parts of other sets and left out. In brackets: a mean over "
        "fewer sets (their number behind it), not comparable with the rest.\n\n"
    )
    lines = ["| method | error % | log loss | Brier | ECE | CPU s |", "|---|---|---|---|---|---|"]
    formats = {"error": (100, 2), "log_loss": (1, 3), "brier": (1, 3), "ece": (1, 3)}
    for method, of in means.items():
        cells = [_mean_cell(of[s], *formats.get(s, (1, 2))) for s in SCORES]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return head + "\n".join(lines) + "\n"


def _mean_cell(of: dict[str, Any] | None, scale: float, digits: int) -> str:
    if of is None:
        return "-"
    text = f"{scale * of['mean']:.{digits}f}"
    if of["sd"] is not None:
        text += f" ± {scale * of['sd']:.{digits}f}"
    return text if of["sets"] == len(INDEPENDENT) else f"({text}; {of['sets']})"


def _per_set(rows: list[Row], score: str, title: str, show: Callable[[float], str]) -> str:
    sets = [name for name in SETS if any(row["set"] == name for row in rows)]
    lines = [f"| method | {' | '.join(sets)} |", "|---" * (len(sets) + 1) + "|"]
    for method in _methods(rows):
        cells = [_cell(_values(rows, method, name, score), show) for name in sets]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return f"## {title}\n\n" + "\n".join(lines) + "\n"


def _cell(values: list[float], show: Callable[[float], str]) -> str:
    if not values:
        return "-"
    of = spread(values)
    return show(of["mean"]) + (f" ± {show(of['sd'])}" if of["sd"] is not None else "")


def _failures(rows: list[Row]) -> str:
    failed = [row for row in rows if "failed" in row]
    if not failed:
        return ""
    lines = ["| method | set | seed | what happened |", "|---|---|---|---|"]
    for row in failed:
        said = " ".join(row["failed"].replace("|", "/").split())
        lines.append(f"| {row['method']} | {row['set']} | {row['seed']} | {said} |")
    return "## Fits without a result\n\n" + "\n".join(lines) + "\n"


def _methods(rows: list[Row]) -> list[str]:
    """In order of first appearance, ours before the peers'."""
    names = dict.fromkeys(row["method"] for row in rows)
    return sorted(names, key=lambda name: name.startswith("crowdkit."))
