"""How good a copy of a model do its answers give away, by which method, and what stops it?

    python -m benchmarks.stealing [--parts digits digits-probabilities fashion defences speed]
        [--seeds 3] [--processes 2] [--budget 200000] [--passes 3] [--small]

digits                200,000 labels a method on one victim a seed: accuracy, agreement, curves, and
                      whether adversarial examples carry over; docs/images/stealing_digits.svg
digits-probabilities  the same where the victim answers with probabilities
fashion               Fashion-MNIST, a subset and a small network on a CPU
defences              copies through defences of answers, and what those cost the victim
speed                 beside plain PyTorch loops; alone on the machine, please

Each part says in `benchmarks/stealing_parts` what it measures. All methods get the same budget,
networks and oracle, and about as many steps of the copy (`fedsec.stealing.lineup`). A run that is
interrupted goes on where it was (`--work`); a part that is measured anew replaces that part of the
result alone. For full sizes on a GPU, in place of the subset:

    --parts fashion --wide --device cuda --fashion-budget 500000 --fashion-passes 4
"""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.inversion.cells import Cells
from benchmarks.machine import ONE_THREAD, RESULTS, ROOT, record, write_part
from benchmarks.stealing_parts import answers, copies, speed
from benchmarks.stealing_parts.tables import TITLES, markdown

COPIES = {
    "digits": ("digits", "labels"),
    "digits-probabilities": ("digits", "probabilities"),
    "fashion": ("fashion-mnist", "labels"),
}
SMALL = {
    "seeds": 1, "budget": 3000, "fashion_budget": 3000, "fashion_images": 500, "passes": 1,
    "fashion_passes": 1, "defence_budget": 2000,
}  # fmt: skip


def options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=list(TITLES), choices=TITLES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--budget", type=int, default=200_000, help="queries, of digits")
    parser.add_argument("--passes", type=int, default=3, help="times an answer is learnt")
    parser.add_argument("--fashion-budget", type=int, default=200_000)
    parser.add_argument("--fashion-passes", type=int, default=3)
    parser.add_argument("--fashion-images", type=int, default=20_000, help="the victim trains on")
    parser.add_argument("--defence-budget", type=int, default=40_000)
    parser.add_argument("--wide", action="store_true", help="fashion: cnn-bn, all images")
    parser.add_argument("--work", type=Path, help="file that rows are kept in")
    parser.add_argument("--small", action="store_true", help="a rehearsal into build/benchmarks")
    given = parser.parse_args()
    if given.small:
        vars(given).update(SMALL)
    return given


def measure(name: str, given: argparse.Namespace, cells: Cells) -> dict[str, Any]:
    """One part."""
    part: Any = copies if name in COPIES else {"defences": answers, "speed": speed}[name]
    keys = partial(part.keys, given, *COPIES[name]) if name in COPIES else partial(part.keys, given)
    head = record("", list(range(given.seeds)))
    on_gpu = torch.device(given.device).type == "cuda"
    processes = 1 if name == "speed" or on_gpu else given.processes
    rows = cells.rows(name, keys(), part.cell, processes)
    said = {key: value for key, value in vars(given).items() if key not in ("work", "parts")}
    return {
        **{key: head[key] for key in ("date", "machine", "load_at_start", "versions")},
        "device": torch.cuda.get_device_name(given.device) if on_gpu else given.device,
        "options": said, "found": part.summary(rows),
    }  # fmt: skip


def draw(name: str, found: dict[str, Any], folder: Path) -> Path:
    """The curves of a part."""
    from fedsec.stealing.plots import copy_curves
    from fedsec.stealing.records import StealRecord

    curves = {
        method: [
            [StealRecord(queries=one["queries"], steps=0, iteration=0, accuracy=one["accuracy"],
                         agreement=one["agreement"]) for one in curve]
            for curve in seeds
        ]
        for method, seeds in found["curves"].items()
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"stealing_{name.replace('-', '_')}.svg"
    figure = copy_curves(curves, victim=found["victim"]["median"], chance=0.1)
    figure.savefig(path, metadata={"Date": None})
    return path


def main() -> None:
    os.environ.update(ONE_THREAD)
    given = options()
    build = ROOT / "build" / "benchmarks"
    folder = build if given.small else RESULTS
    cells = Cells(given.work or build / "stealing.jsonl")
    path = folder / "stealing.json"
    question, result = __doc__.strip().splitlines()[0], {}
    for name in given.parts:
        found = measure(name, given, cells)
        result = write_part(path, question, name, found)
        if name in COPIES:
            draw(name, found["found"], build if given.small else ROOT / "docs" / "images")
        path.with_suffix(".md").write_text(markdown(result), encoding="utf-8")
    print(markdown(result))
    print(f"written: {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
