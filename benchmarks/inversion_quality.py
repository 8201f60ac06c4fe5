"""What do shared gradients and model updates reveal, to which attack, and what stops it?

    python -m benchmarks.inversion_quality [--parts peer fedavg gap defences labels]
        [--clients 2] [--iterations 150] [--processes 2] [--device cpu] [--small]

peer      digits: our Inverting Gradients and DLG beside `breaching`
fedavg    local steps on Fashion-MNIST: every attack, PSNR, SSIM and seconds
gap       how far a change of parameters is from one gradient; docs/images/inversion_gap.svg
defences  leakage against strength, with an attacker who knows, and the accuracy that it costs
labels    how often labels are read off

Each part says in `benchmarks/inversion` what it measures. A run that is interrupted goes on where
it was (`--work`); a part that is measured anew replaces that part of the result alone. For full
sizes, beside the others:

    --parts fedavg --data cifar10 --wide --clients 8 --plenty 256 --iterations 2000 --device cuda
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from benchmarks.inversion import defences, fedavg, gap, labels, peer
from benchmarks.inversion.cells import Cells
from benchmarks.inversion.tables import markdown
from benchmarks.machine import ONE_THREAD, RESULTS, ROOT, record, write_part

PARTS: dict[str, ModuleType] = {
    "peer": peer, "fedavg": fedavg, "gap": gap, "defences": defences, "labels": labels
}  # fmt: skip
SMALL = {
    "clients": 1, "least": 1, "plenty": 1, "images": 1, "iterations": 3, "peer_iterations": 20,
    "defence_iterations": 3, "rounds": 1, "seeds": 1, "draws": 2, "label_data": ["digits"],
}  # fmt: skip


def options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--device", default="cpu", help="of fedavg")
    parser.add_argument("--data", default="fashion-mnist", help="of fedavg")
    parser.add_argument("--nets", nargs="+", default=list(fedavg.NETS), help="of fedavg")
    parser.add_argument("--wide", action="store_true", help="full widths in fedavg")
    parser.add_argument("--clients", type=int, default=2, help="a cell of fedavg, at least")
    parser.add_argument("--least", type=int, default=8, help="images a cell; clients of the others")
    parser.add_argument("--plenty", type=int, default=16, help="images that fewer clients give")
    parser.add_argument("--iterations", type=int, default=150, help="of fedavg")
    parser.add_argument("--images", type=int, default=64, help="a cell of peer")
    parser.add_argument("--peer-iterations", type=int, default=0, help="0 for its own")
    parser.add_argument("--defence-iterations", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=0, help="of training; 0 for its own")
    parser.add_argument("--seeds", type=int, default=3, help="of training")
    parser.add_argument("--draws", type=int, default=50, help="batches a cell, of labels")
    parser.add_argument("--label-data", nargs="+", default=["digits", "fashion-mnist"])
    parser.add_argument("--work", type=Path, help="file that rows are kept in")
    parser.add_argument("--small", action="store_true", help="a rehearsal into build/benchmarks")
    given = parser.parse_args()
    if given.small:
        vars(given).update(SMALL)
    return given


def measure(name: str, given: argparse.Namespace, cells: Cells) -> dict[str, Any]:
    """One part."""
    part, head = PARTS[name], record("", [])
    rows = cells.rows(name, part.keys(given), part.cell, given.processes)
    said = {key: value for key, value in vars(given).items() if key not in ("work", "parts")}
    is_gpu = torch.device(given.device).type == "cuda"
    return {
        **{key: head[key] for key in ("date", "machine", "load_at_start", "versions")},
        "device": torch.cuda.get_device_name(given.device) if is_gpu else given.device,
        "options": said, "found": part.summary(rows),
    }  # fmt: skip


def called(name: str, given: argparse.Namespace) -> str:
    """The part's place in the result: other data or widths stand beside the usual ones."""
    if name != "fedavg" or (given.data == "fashion-mnist" and not given.wide):
        return name
    return f"{name}: {given.data}{', full widths' if given.wide else ''}"


def main() -> None:
    os.environ.update(ONE_THREAD)
    given = options()
    folder = ROOT / "build" / "benchmarks" if given.small else RESULTS
    work = given.work or ROOT / "build" / "benchmarks" / "inversion_quality.jsonl"
    cells = Cells(work)
    path = folder / "inversion_quality.json"
    question, result = __doc__.strip().splitlines()[0], {}
    for name in given.parts:
        found = measure(name, given, cells)
        result = write_part(path, question, called(name, given), found)
        if name == "gap" and not given.small:
            gap.draw(found["found"])
        path.with_suffix(".md").write_text(markdown(result), encoding="utf-8")
    print(markdown(result))
    print(f"written: {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
