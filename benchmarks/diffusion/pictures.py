"""Images of every method from the same noises, as a small PNG for the docs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from benchmarks.diffusion.students import METHODS, SHOWN, shown_images
from benchmarks.diffusion.teachers import full_samples, size_of, teacher_of
from fedsec.diffusion.pictures import tiled


def draw(given: Any, folder: Path) -> list[Path]:
    """A picture for the fewest steps and one for the most but one; those that could be drawn."""
    from matplotlib.figure import Figure

    key = {"size": given.size, "changed": given.changed, "seed": given.seeds[0]}
    size = size_of(key)
    full = full_samples(key, teacher_of(key))[:SHOWN]
    made = []
    for n in sorted({size.students[-1], size.students[1 % len(size.students)]}):
        rows: dict[str, Tensor] = {f"teacher, {size.full} steps": full}
        for method in METHODS:
            kept = shown_images(key, method, n)
            if kept is not None:
                rows[method] = kept
        figure = Figure(figsize=(8.5, 0.1 + 0.56 * len(rows)), layout="constrained")
        axes = figure.subplots(len(rows), 1, squeeze=False)
        for ax, (name, x) in zip(axes[:, 0], rows.items(), strict=True):
            ax.imshow(np.asarray(tiled(x, columns=SHOWN)), interpolation="nearest")
            ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        path = folder / f"sfddm_{given.size}_{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=90, metadata={"Software": None}, bbox_inches="tight")
        made.append(path)
    return made
