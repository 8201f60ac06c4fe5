"""How large a run is: data, networks, steps of training, and how much is drawn from each student.

digits   a CPU: some 50 minutes of its time, half of that by the wall on two slow cores. A step of
         training takes 25 to 50 ms there, so there are 900 for a student and 3000 for the teacher;
         the figures are of that budget
fashion, cifar
         a GPU, bfloat16; one seed by default
tiny     a rehearsal of all parts in less than a minute; its figures mean nothing
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Size:
    """What one size computes.

    steps          of the teacher's diffusion
    full           DDIM steps of the teacher's own samples, which students are compared with
    students       steps of the students
    fold           steps of the student that single fold and three halvings are compared at
    architecture   of `make_denoiser`, without the channels
    teacher_steps, train_steps
                   of training; the latter of every student, over all stages of a progressive one
    samples        images drawn from each model, for fcd and MSE
    """

    data: str
    steps: int
    full: int
    students: tuple[int, ...]
    fold: int
    architecture: dict[str, Any]
    teacher_steps: int
    train_steps: int
    batch: int
    lr: float
    samples: int
    seeds: int
    device: str = "cpu"
    precision: str = "float32"
    limit: int | None = None


SMALL = {"kind": "unet", "width": 16, "mults": [1, 2, 4], "groups": 8, "attention": False}
WIDE = {"kind": "unet", "width": 64, "mults": [1, 2, 4], "groups": 8, "attention": True}
REAL = {
    "kind": "diffusers", "widths": [64, 128, 256, 256], "attention": [False, False, True, True],
    "layers": 2, "groups": 8, "fused": True,
}  # fmt: skip

SIZES = {
    "digits": Size(
        data="digits", steps=256, full=256, students=(64, 16, 8, 4), fold=8, architecture=SMALL,
        teacher_steps=3000, train_steps=500, batch=64, lr=1e-3, samples=500, seeds=3,
    ),
    "fashion": Size(
        data="fashion-mnist", steps=1024, full=128, students=(128, 16, 8), fold=8,
        architecture=WIDE, teacher_steps=4000, train_steps=800, batch=128, lr=5e-4, samples=512,
        seeds=1, device="cuda", precision="bfloat16",
    ),
    "cifar": Size(
        data="cifar10", steps=1024, full=128, students=(128, 16, 8), fold=8, architecture=REAL,
        teacher_steps=4000, train_steps=400, batch=128, lr=4e-4, samples=512, seeds=1,
        device="cuda", precision="bfloat16",
    ),
    "tiny": Size(
        data="digits", steps=32, full=32, students=(8, 4), fold=4,
        architecture={**SMALL, "width": 8, "mults": [1, 2]}, teacher_steps=12, train_steps=12,
        batch=8, lr=1e-3, samples=16, seeds=2, limit=64,
    ),
}  # fmt: skip
