"""What does `breaching` rebuild from the same gradients? One process, in the peers' environment.

    .venv-peers/bin/python -m benchmarks.peers.run_breaching JOBS.npz FOUND.npz

JOBS holds `jobs`, a JSON list of {"net", "attack", "iterations", "tv"}, and for job i the arrays
`i.p.k` (parameters), `i.g.k` (gradients), `i.y` (labels) and `i.start` (the images to start from).
FOUND gets `i.x` and `i.seconds` (of the process), and `versions`. Attacks are the package's own:
`invertinggradients` with the given weight of total variation, and `deepleakage` with labels given,
which makes 20 evaluations in each of its L-BFGS iterations.

The package imports torchvision, whose published wheel does not go with torch for CPUs. Nothing of
it is called here, so an empty module of that name stands in.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import metadata
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import torch
from torch import nn

from benchmarks.inversion.tiny import CHANNELS, N_CLASSES, SIZE, tiny_net

L_BFGS_EVALUATIONS = 20  # torch's own default in a step
TORCHVISION = ("datasets", "datasets.utils", "models", "models.densenet", "transforms", "utils")


def stand_in_for_torchvision() -> None:
    """Names that `breaching` imports, and a base class that it derives from."""
    for name in ("", *(f".{part}" for part in TORCHVISION)):
        module: Any = ModuleType(f"torchvision{name}")
        module.__getattr__ = lambda _: MagicMock()
        module._DenseLayer = nn.Module
        sys.modules[f"torchvision{name}"] = module
        parent, _, child = f"torchvision{name}".rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)


def attack_config(job: dict[str, Any]) -> Any:
    """The package's configuration, with what the job says."""
    import breaching

    if job["attack"] == "inverting-gradients":
        return breaching.get_attack_config(
            "invertinggradients",
            [f"optim.max_iterations={job['iterations']}",
             f"regularization.total_variation.scale={job['tv']}"],
        )  # fmt: skip
    steps = job["iterations"] // L_BFGS_EVALUATIONS
    return breaching.get_attack_config(
        "deepleakage", ["attack_type=optimization", f"optim.max_iterations={steps}"]
    )


def rebuild(job: dict[str, Any], arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, float]:
    """Images, and CPU seconds."""
    import breaching

    net = tiny_net(job["net"]).eval()
    n_tensors = len(list(net.parameters()))
    y = torch.from_numpy(arrays["y"])
    sent = [torch.from_numpy(arrays[f"p.{k}"]) for k in range(n_tensors)]
    gradients = [torch.from_numpy(arrays[f"g.{k}"]) for k in range(n_tensors)]
    about = SimpleNamespace(
        shape=(CHANNELS, SIZE, SIZE), modality="vision", task="classification", classes=N_CLASSES
    )
    payload = [{"parameters": sent, "buffers": [], "metadata": about}]
    seen = {"num_data_points": len(y), "labels": y, "local_hyperparams": None}
    shared = [{"gradients": gradients, "buffers": None, "metadata": seen}]
    attacker = breaching.attacks.prepare_attack(net, nn.CrossEntropyLoss(), attack_config(job))
    started = time.process_time()
    found, _ = attacker.reconstruct(
        payload, shared, {}, initial_data=torch.from_numpy(arrays["start"])
    )
    return found["data"].detach().clamp(0, 1).numpy(), time.process_time() - started


def main() -> None:
    torch.set_num_threads(1)
    stand_in_for_torchvision()
    given = np.load(sys.argv[1], allow_pickle=False)
    found: dict[str, Any] = {}
    for i, job in enumerate(json.loads(str(given["jobs"]))):
        mine = {
            name.removeprefix(f"{i}."): given[name]
            for name in given.files
            if name.startswith(f"{i}.")
        }
        rebuild({**job, "iterations": L_BFGS_EVALUATIONS}, mine)  # what is compiled is compiled
        torch.manual_seed(i)
        found[f"{i}.x"], found[f"{i}.seconds"] = rebuild(job, mine)
        print(f"breaching: job {i} {job}", file=sys.stderr, flush=True)
    versions = {name: metadata.version(name) for name in ("breaching", "torch")}
    np.savez(sys.argv[2], versions=json.dumps(versions), **found)


if __name__ == "__main__":
    main()
