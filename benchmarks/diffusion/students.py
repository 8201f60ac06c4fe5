"""Students of every method, from one teacher, after equally many steps of training.

A cell is one training. A consistency model is trained once and sampled in each number of steps.
Progressive students come from at most three halvings, each with its share of the training: the
first teacher takes eight times the student's steps, or all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.diffusion.sizes import Size
from benchmarks.diffusion.teachers import (
    fcd_of,
    full_samples,
    images_for,
    noise_for,
    place,
    seconds,
    settings_for,
    size_of,
    teacher_of,
)
from benchmarks.inversion.cells import Key, Row
from fedsec.core.rng import torch_stream
from fedsec.diffusion.consistency import consistency_distill, consistency_train
from fedsec.diffusion.model import DiffusionModel
from fedsec.diffusion.progressive import progressive_distill, stages
from fedsec.diffusion.scratch import train_from_scratch
from fedsec.diffusion.semantics import images_of_noise, semantic_distance
from fedsec.diffusion.single_fold import SingleFold, distill
from fedsec.diffusion.students import on_steps
from fedsec.diffusion.subsequence import leading, trailing

RANDOM, WARM = "SFDDM, random start", "SFDDM, teacher's weights"
PROGRESSIVE, SCRATCH = "progressive", "from scratch"
CD, CT = "consistency distillation", "consistency training"
LEADING, TRAILING = "teacher's DDIM, leading", "teacher's DDIM, trailing"
ON_LEADING = (RANDOM, WARM, SCRATCH, LEADING)
ALL_AT_ONCE = (CD, CT)
METHODS = (RANDOM, WARM, PROGRESSIVE, CD, CT, SCRATCH, LEADING, TRAILING)
MOST_HALVINGS = 3
CHANGES = ("teacher_steps", "train_steps", "samples")
SHOWN = 12  # images of each student that pictures show


def keys(given: Any) -> list[Key]:
    """A training each; of the teacher's own rows none, but a cell too."""
    base = {"size": given.size, "changed": given.changed}
    found = []
    for seed in given.seeds:
        for method in METHODS:
            steps = [0] if method in ALL_AT_ONCE else given.students
            found += [{**base, "seed": seed, "method": method, "steps": n} for n in steps]
    return found


def cell(key: Key) -> Row:
    """Train, and score in each number of steps."""
    size = size_of(key)
    teacher = teacher_of(key)
    started = seconds(size.device)
    model = trained(key["method"], key["steps"], teacher, size, key["seed"], size.train_steps)
    took = seconds(size.device) - started
    steps = size.students if key["method"] in ALL_AT_ONCE else [key["steps"]]
    return {
        "training seconds": took,
        "by steps": {str(n): scored(key, model, teacher, n) for n in steps},
    }


def trained(
    method: str, n: int, teacher: DiffusionModel, size: Size, seed: int, steps: int
) -> DiffusionModel:
    """A student of n steps by a method, after `steps` steps of training in all."""
    x, settings = images_for(size), settings_for(size, seed, steps)
    if method in (LEADING, TRAILING):
        return on_steps(teacher, sequence(method, size.steps, n))
    if method in (RANDOM, WARM):
        how = SingleFold(start="random" if method == RANDOM else "teacher")
        return distill(teacher, leading(size.steps, n), x, settings, how)[0]
    if method == SCRATCH:
        return train_from_scratch(teacher, leading(size.steps, n), x, settings)[0]
    if method == CD:
        return consistency_distill(teacher, x, settings)[0]
    if method == CT:
        return consistency_train(teacher, x, settings)[0]
    first = trailing(size.steps, min(n << MOST_HALVINGS, size.steps))
    of_stage = settings_for(size, seed, max(steps // stages(len(first), n), 1))
    return progressive_distill(teacher, n, x, of_stage, indices=first)[-1][0]


def sequence(method: str, steps: int, n: int) -> Tensor:
    """The teacher's steps that a method's student of n steps goes by."""
    return leading(steps, n) if method in ON_LEADING else trailing(steps, n)


def scored(key: Key, model: DiffusionModel, teacher: DiffusionModel, n: int) -> Row:
    """fcd, distances to the teacher's images of the same noise, and what 1000 images cost."""
    size, method = size_of(key), key["method"]
    z = noise_for(size, key["seed"]).to(size.device)
    between = torch_stream(key["seed"], "between", device=size.device)
    started = seconds(size.device)
    x = images_of_noise(model, z, steps=n, generator=between)
    took = seconds(size.device) - started
    same = images_of_noise(teacher, z, times=sequence(method, size.steps, n).flip(0)).cpu()
    np.save(place(key, f"{method}-{n}.npy", CHANGES), x[:SHOWN].cpu().numpy())
    x = x.cpu()
    return {
        "fcd": fcd_of(size, x),
        "mse full": float(semantic_distance(x, full_samples(key, teacher)).mean()),
        "mse same": float(semantic_distance(x, same).mean()),
        "seconds per 1000": 1000 * took / len(x),
    }


def spread(values: list[float]) -> dict[str, float]:
    """Mean and standard deviation over seeds; 0 for one seed."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "sd": deviation}


def summary(rows: list[Row], students: tuple[int, ...]) -> dict[str, Any]:
    """The table: a row for a method and a number of steps; and what is claimed of SFDDM."""
    table = []
    for n in students:
        for method in METHODS:
            mine = [row for row in rows if row["method"] == method and str(n) in row["by steps"]]
            if not mine:
                continue
            of = {"method": method, "steps": n, "seeds": len(mine)}
            for name in ("fcd", "mse full", "mse same", "seconds per 1000"):
                of[name] = spread([row["by steps"][str(n)][name] for row in mine])
            of["training seconds"] = spread([row["training seconds"] for row in mine])
            table.append(of)
    return {"table": table, "claims": [claim(table, n) for n in students]}


def claim(table: list[dict[str, Any]], n: int) -> dict[str, Any]:
    """SFDDM beside the teacher's DDIM and beside training from scratch."""
    at = {row["method"]: row for row in table if row["steps"] == n}
    floor = at[LEADING]["fcd"]["mean"]
    found: dict[str, Any] = {"steps": n}
    for method in (RANDOM, WARM):
        found[method] = {
            "fcd over the teacher's DDIM": at[method]["fcd"]["mean"] / floor,
            "MSE over that from scratch": at[method]["mse same"]["mean"]
            / max(at[SCRATCH]["mse same"]["mean"], 1e-12),
        }
    return found


def shown_images(key: Key, method: str, n: int) -> Tensor | None:
    """The images of a student that were kept, where they were."""
    path = place(key, f"{method}-{n}.npy", CHANGES)
    return torch.from_numpy(np.load(path)) if path.exists() else None
