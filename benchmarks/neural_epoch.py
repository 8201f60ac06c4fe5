"""An epoch of `consensus` at 10^6 votes, 2,000 workers and 10 classes, in a process of its own.

    python -m benchmarks.neural_epoch [--device cpu] [--votes 1000000]

Prints one line of JSON: seconds of each epoch (scoring the votes left out included), the memory of
the process at its peak and before the fit, and the width of the first layer's weights.
"""

from __future__ import annotations

import argparse
import json
import time

import torch

from benchmarks.machine import peak_mib, reset_peak, rss_mib
from crowdlearn.aggregators import aggregator
from crowdlearn.simulate import dawid_skene, fixed_per_item

N_EPOCHS = 4


def measure(device: str, n_votes: int, batch_items: int) -> dict[str, object]:
    """The first epoch, which warms up, is left out."""
    world = dawid_skene(n_votes // 5, 2_000, 10, assign=fixed_per_item(5), seed=0)
    before = rss_mib()
    reset_peak()
    ticks = [time.perf_counter()]

    def watch(sweep: object) -> bool:
        ticks.append(time.perf_counter())
        return len(ticks) > N_EPOCHS

    method = aggregator("consensus", device=device, batch_items=batch_items)
    method.fit(world.votes, on_sweep=watch)
    seconds = [later - earlier for earlier, later in zip(ticks[1:-1], ticks[2:], strict=True)]
    return {
        "device": torch.cuda.get_device_name() if device == "gpu" else "cpu",
        "threads": torch.get_num_threads(),
        "votes": n_votes,
        "batch_items": batch_items,
        "seconds_an_epoch": seconds,
        "peak_mib": peak_mib(),
        "before_mib": before,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--votes", type=int, default=1_000_000)
    parser.add_argument("--batch-items", type=int, default=50)
    args = parser.parse_args()
    print(json.dumps(measure(args.device, args.votes, args.batch_items)))


if __name__ == "__main__":
    main()
