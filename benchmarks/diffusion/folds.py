"""One fold against three halvings to the same number of steps: what does an equal fcd cost?

Each budget is a training of its own, since the rate falls to 0 within it. The common fcd is the
worse one of the best of both ways, so that both reach it; each way's cost is that of its smallest
budget that does, by the means over seeds. The full budget is that of the students' table.
"""

from __future__ import annotations

from typing import Any

from benchmarks.diffusion.students import PROGRESSIVE, RANDOM, WARM, spread, trained
from benchmarks.diffusion.teachers import fcd_of, noise_for, seconds, size_of, teacher_of
from benchmarks.inversion.cells import Key, Row
from fedsec.diffusion.semantics import images_of_noise

WAYS = (RANDOM, WARM, PROGRESSIVE)
SHARES = (8, 4, 2)  # of the usual budget, which the table of students has


def keys(given: Any) -> list[Key]:
    """A training for each way, budget and seed."""
    base = {"size": given.size, "changed": given.changed}
    budgets = sorted({max(given.train_steps // share, 3) for share in SHARES})
    return [
        {**base, "seed": seed, "way": way, "steps": steps}
        for seed in given.seeds for way in WAYS for steps in budgets
    ]  # fmt: skip


def cell(key: Key) -> Row:
    """fcd and cost of one training."""
    size = size_of(key)
    teacher = teacher_of(key)
    started = seconds(size.device)
    model = trained(key["way"], size.fold, teacher, size, key["seed"], key["steps"])
    took = seconds(size.device) - started
    return {
        "seconds": took,
        "fcd": fcd_of(size, images_of_noise(model, noise_for(size, key["seed"]))),
    }


def full_budget(students: list[Row], fold: int, steps: int) -> list[Row]:
    """The rows of the students' table as points of this comparison."""
    return [
        {"way": row["method"], "steps": steps, "seconds": row["training seconds"],
         "fcd": row["by steps"][str(fold)]["fcd"]}
        for row in students if row["method"] in WAYS and row["steps"] == fold
    ]  # fmt: skip


def summary(rows: list[Row], fold: int) -> dict[str, Any]:
    """Points of each way, and what the common fcd costs."""
    points: dict[str, list[dict[str, Any]]] = {}
    for way in WAYS:
        mine = [row for row in rows if row["way"] == way]
        points[way] = [
            {
                "steps": steps,
                "seconds": spread([row["seconds"] for row in mine if row["steps"] == steps]),
                "fcd": spread([row["fcd"] for row in mine if row["steps"] == steps]),
            }
            for steps in sorted({row["steps"] for row in mine})
        ]
    equal = {}
    for way in (RANDOM, WARM):
        best = [min(p["fcd"]["mean"] for p in points[name]) for name in (way, PROGRESSIVE)]
        common = max(best)
        costs = {}
        for name in (way, PROGRESSIVE):
            first = next(p for p in points[name] if p["fcd"]["mean"] <= common)
            costs[name] = {"steps": first["steps"], "seconds": first["seconds"]["mean"]}
        equal[way] = {"fcd": common, "costs": costs}
    return {"to": fold, "points": points, "equal": equal}
