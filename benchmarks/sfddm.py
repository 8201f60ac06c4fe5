"""Which student samples best in few steps: one fold, halvings, consistency, or none at all?

    python -m benchmarks.sfddm --size digits|fashion|cifar|tiny
        [--parts teacher students folds speed] [--seeds 3] [--processes 2] [--device cpu]
        [--teacher-steps N] [--train-steps N] [--samples N]

One teacher a seed, and from it students of every method after equally many steps of training, all
by Adam with one rate that falls to 0, beside the teacher's own DDIM on the same steps. In
`benchmarks/diffusion`: `sizes` says what each size trains for, `students` how each is scored,
`folds` compares one fold with three halvings, `speed` takes sampling and a step of training beside
diffusers' loop (alone on the machine, please).

digits is for a CPU, and takes at most an hour of its time; it was sized for two slow cores. tiny
rehearses everything in less than a minute. A run that is interrupted goes on where it was
(`build/benchmarks/sfddm-SIZE.jsonl`); each size is a part of one result.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.diffusion import folds, pictures, speed, students, teachers
from benchmarks.diffusion.sizes import SIZES
from benchmarks.diffusion.tables import markdown
from benchmarks.inversion.cells import Cells
from benchmarks.machine import ONE_THREAD, RESULTS, ROOT, record, versions, write_json

PARTS: dict[str, Any] = {
    "teacher": teachers, "students": students, "folds": folds, "speed": speed
}  # fmt: skip
CHANGES = (*students.CHANGES, "device")


def options() -> argparse.Namespace:
    """What the command line says, and what follows from the size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="digits", choices=SIZES)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--seeds", type=int, default=0, help="0 for the size's own")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--device", default=None, help="the size's own where not given")
    for name in CHANGES[:-1]:
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=None)
    given = parser.parse_args()
    size = SIZES[given.size]
    given.changed = {
        name: getattr(given, name) for name in CHANGES
        if getattr(given, name) not in (None, getattr(size, name))
    }  # fmt: skip
    given.seeds = list(range(given.seeds or size.seeds))
    given.students = list(size.students)
    given.train_steps = given.train_steps or size.train_steps
    given.device = given.device or size.device
    return given


def measure(given: argparse.Namespace, cells: Cells) -> dict[str, Any]:
    """All parts that were asked for."""
    size = SIZES[given.size]
    head = record("", given.seeds)
    on_gpu = torch.device(given.device).type == "cuda"
    found: dict[str, Any] = {
        **{key: head[key] for key in ("date", "machine", "load_at_start", "seeds")},
        "versions": {**versions(), **_diffusers()},
        "device": torch.cuda.get_device_name(given.device) if on_gpu else given.device,
        "options": {
            "size": given.size, "data": size.data, "steps": size.steps, "full": size.full,
            "train steps": given.train_steps,
            "teacher steps": given.changed.get("teacher_steps", size.teacher_steps),
            "batch": size.batch, "lr": size.lr, "objective": "v", "schedule": "sigmoid",
            "samples": given.changed.get("samples", size.samples),
        },
    }  # fmt: skip
    for name in given.parts:
        part = PARTS[name]
        processes = 1 if name == "speed" or on_gpu else given.processes
        rows = cells.rows(name, part.keys(given), part.cell, processes)
        if name == "teacher":
            found["teacher"] = {
                key: students.spread([row[key] for row in rows])
                for key in ("fcd", "floor", "ceiling", "precision", "recall", "seconds per 1000")
            } | {key: rows[0][key] for key in ("features", "real", "parameters")}
        elif name == "students":
            found["students"] = students.summary(rows, size.students)
        elif name == "folds":
            trained = cells.rows("students", students.keys(given), students.cell, processes)
            rows += folds.full_budget(trained, size.fold, given.train_steps)
            found["folds"] = folds.summary(rows, size.fold)
        else:
            found["speed"] = speed.summary(rows)
    return found


def _diffusers() -> dict[str, str]:
    from importlib import metadata

    try:
        return {"diffusers": metadata.version("diffusers")}
    except metadata.PackageNotFoundError:
        return {}


def main() -> None:
    os.environ.update(ONE_THREAD)
    given = options()
    rehearsal = given.size == "tiny"
    build = ROOT / "build" / "benchmarks"
    path = (build if rehearsal else RESULTS) / "sfddm.json"
    result: dict[str, Any] = {"sizes": {}}
    if path.exists():
        result = json.loads(path.read_text(encoding="utf-8"))
    result["question"] = __doc__.strip().splitlines()[0]
    found = measure(given, Cells(build / f"sfddm-{given.size}.jsonl"))
    result["sizes"][given.size] = result["sizes"].get(given.size, {}) | found
    write_json(path, result)
    path.with_suffix(".md").write_text(markdown(result), encoding="utf-8")
    if "students" in given.parts:
        for made in pictures.draw(given, build if rehearsal else ROOT / "docs" / "images"):
            print(f"written: {_short(made)}", file=sys.stderr)
    print(markdown(result))
    print(f"written: {_short(path)}", file=sys.stderr)


def _short(path: Path) -> Path:
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


if __name__ == "__main__":
    main()
