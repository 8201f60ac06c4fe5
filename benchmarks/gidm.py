"""What does the gradient of a federated diffusion model show, with known and with private noise?

    python -m benchmarks.gidm [--size digits] [--parts times known private defended]
        [--images 8] [--iterations 600] [--processes 2] [--device cpu] [--small]

known     GIDM, its phases, pixels alone, DLG and Inverting Gradients carried over, each from noise,
          grey and the mean image, at three steps, on an untrained and a trained victim
private   steps and noise unknown: GIDM+, the released windows, one random draw
times     how often the time layer shows the steps
defended  noise on the gradient, and its largest entries alone

`benchmarks.inversion.diffusion` says what each cell is. All images of a cell are attacked side by
side. A run that is interrupted goes on where it was (`--work`); so does the training of the models.
Sizes beside digits are for a GPU:

    python -m benchmarks.gidm --size fashion --device cuda --processes 1
    python -m benchmarks.gidm --size cifar --device cuda --processes 1
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.inversion.cells import Cells
from benchmarks.inversion.denoisers import SIZES, TRAINED, UNTRAINED, WORK, prepare
from benchmarks.inversion.diffusion import LATE, PARTS
from benchmarks.inversion.diffusion_tables import bars, markdown, summary
from benchmarks.machine import ONE_THREAD, RESULTS, ROOT, record, write_json

SMALL = {"images": 2, "iterations": 6, "prior_steps": 4}
SHOWN = (
    ("true", UNTRAINED, "gidm", "latent", "true"),
    ("GIDM, after phase 1", UNTRAINED, "gidm", "latent", "latent"),
    ("GIDM", UNTRAINED, "gidm", "latent", "rebuilt"),
    ("pixels from noise", UNTRAINED, "pixels", "noise", "rebuilt"),
    ("pixels from the mean", UNTRAINED, "pixels", "mean", "rebuilt"),
    ("GIDM, trained victim", TRAINED, "gidm", "latent", "rebuilt"),
    ("pixels from the mean, trained", TRAINED, "pixels", "mean", "rebuilt"),
)


def options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="digits", choices=SIZES)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--iterations", type=int, default=0, help="0 for those of the size")
    parser.add_argument("--prior-steps", type=int, default=0, help="0 for those of the size")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--work", type=Path, default=WORK / "gidm.jsonl")
    parser.add_argument("--small", action="store_true", help="a rehearsal into build/benchmarks")
    given = parser.parse_args()
    if given.small:
        vars(given).update(SMALL, work=WORK / "gidm_small.jsonl")
    given.iterations = given.iterations or SIZES[given.size].iterations
    given.prior_steps = given.prior_steps or SIZES[given.size].training.steps
    return given


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """True images and what attacks made of them, at the late step, as one picture."""
    from matplotlib.figure import Figure

    cells = {(row["victim"], row["attack"], row["start"]): row for row in rows if row["t"] == LATE}
    lines = [
        (name, cells[victim, attack, start]["pictures"][phase])
        for name, victim, attack, start, phase in SHOWN
        if (victim, attack, start) in cells
    ]
    if not lines:
        return
    images = [np.load(WORK / "gidm_images" / file)["x"] for _, file in lines]
    n = len(images[0])
    figure = Figure(figsize=(2.0 + 0.8 * n, 0.85 * len(lines)), layout="constrained")
    axes = figure.subplots(len(lines), n, squeeze=False)
    for line, (name, _), x in zip(axes, lines, images, strict=True):
        for axis, image in zip(line, x, strict=True):
            axis.set(xticks=[], yticks=[])
            pixels = np.moveaxis(image.clip(0, 1), 0, 2)
            axis.imshow(pixels[..., 0] if pixels.shape[2] == 1 else pixels, cmap="gray", vmin=0,
                        vmax=1)  # fmt: skip
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def main() -> None:
    os.environ.update(ONE_THREAD)
    given = options()
    folder = WORK if given.small else RESULTS
    prepare(given.size, given.prior_steps, given.device)
    cells, head = Cells(given.work), record(__doc__.strip().splitlines()[0], [])
    path = folder / "gidm.json"
    is_gpu = torch.device(given.device).type == "cuda"
    for name in given.parts:
        keys, cell = PARTS[name]
        rows = cells.rows(name, keys(given), cell, given.processes)
        if name == "known":
            pictures = WORK if given.small else ROOT / "docs" / "images"
            draw(rows, pictures / f"gidm_{given.size}.png")
        result: dict[str, Any] = {"question": head["question"], "sizes": {}}
        if path.exists():  # as it is now: other parts may have ended meanwhile
            result = json.loads(path.read_text(encoding="utf-8"))
        of = result["sizes"].setdefault(given.size, {"parts": {}})
        of["parts"][name] = {
            **{key: head[key] for key in ("date", "machine", "load_at_start", "versions")},
            "device": torch.cuda.get_device_name(given.device) if is_gpu else given.device,
            "options": {
                key: value for key, value in vars(given).items() if key not in ("work", "parts")
            },
            "found": summary(name, rows),
        }
        of["bars"] = bars({part: one["found"] for part, one in of["parts"].items()})
        write_json(path, result)
        path.with_suffix(".md").write_text(markdown(result), encoding="utf-8")
    print(markdown(result))
    print(f"written: {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
