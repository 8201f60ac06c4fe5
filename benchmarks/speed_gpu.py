"""What does a GPU buy, and does it give the same answer?

    python -m benchmarks.speed_gpu [--sizes 1000000 10000000] [--sweeps 20]

Dawid-Skene and BCC by Gibbs on the GPU that JAX sees, beside the CPU on all cores, wall seconds a
sweep. Dawid-Skene's posteriors must agree to 1e-5 after equal sweeps. Writes nothing where
JAX sees no GPU.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import synthetic
from benchmarks.machine import RESULTS, record, write_json
from benchmarks.speed_sweeps import SMALL_TURNS
from benchmarks.sweep_cost import a_sweep, measure
from crowdlearn.aggregators import aggregator

DEVICES = ("cpu", "gpu")
METHODS: dict[str, dict[str, Any]] = {
    "dawid-skene": {"tolerance": 0.0},
    "bcc-gibbs": SMALL_TURNS,
}
SAME = 1e-5


def gpu_name() -> str | None:
    """The first GPU that JAX sees."""
    try:
        import jax

        return str(jax.devices("gpu")[0].device_kind)
    except (ImportError, RuntimeError):
        return None


def at_size(path: Path, sweeps: int) -> dict[str, Any]:
    """Seconds a sweep of each method on each device, and the largest difference of posteriors."""
    walls = {
        name: {
            device: a_sweep(
                measure(path, aggregator(name, device=device, **settings), sweeps), "wall"
            )
            for device in DEVICES
        }
        for name, settings in METHODS.items()
    }
    votes = synthetic.read_codes(path)
    posteriors = [
        aggregator("dawid-skene", device=device, max_sweeps=sweeps, tolerance=0.0)
        .fit(votes)
        .posterior
        for device in DEVICES
    ]
    difference = float(np.abs(posteriors[0] - posteriors[1]).max())
    return {"votes": votes.n_votes, "sweep_wall_seconds": walls, "largest_difference": difference}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10**6, 10**7])
    parser.add_argument("--sweeps", type=int, default=20)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    gpu = gpu_name()
    if gpu is None:
        print("JAX sees no GPU: nothing measured")
        return
    result = record(__doc__.strip().splitlines()[0], [0])
    result["gpu"] = gpu
    result["sizes"] = [at_size(synthetic.cached(size), args.sweeps) for size in args.sizes]
    write_json(RESULTS / "speed_gpu.json", result)
    for size in result["sizes"]:
        for name, walls in size["sweep_wall_seconds"].items():
            shown = ", ".join(f"{device} {1e3 * s:.2f} ms" for device, s in walls.items())
            print(f"{size['votes']:>10,} {name:12} {shown}")
        same = "equal" if size["largest_difference"] <= SAME else "NOT EQUAL"
        print(f"{size['votes']:>10,} posteriors {same}: {size['largest_difference']:.1e}")


if __name__ == "__main__":
    main()
