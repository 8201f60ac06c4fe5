"""The same gradients and starts, given to `breaching` and to us.

Digits of 8 x 8, each channel thrice, an untrained network of two convolutions, labels known. Theirs
are the package's configurations; total variation of 1e-4, as in the measured rows of the notes.
Their total variation takes the image to go on in black to the right and below, which is true of
digits; ours is that of the paper. So that both descend the same, ours is given theirs here. DLG
makes 20 evaluations in each of its steps. Without the package's environment the rows that were
measured before stand in, marked so.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import pad

from benchmarks.inversion.cells import Key, Row
from benchmarks.inversion.clients import drawn, images_of, with_gradient
from benchmarks.inversion.tiny import ACTIVATIONS, N_CLASSES, tiny_net
from benchmarks.machine import ONE_THREAD, PEERS_PYTHON, ROOT
from fedsec.core.rng import torch_stream
from fedsec.inversion.attacks import DLG, InvertingGradients
from fedsec.inversion.attacks.knowing import invert_told, known_labels
from fedsec.inversion.audit.subject import Subject
from fedsec.inversion.scores import score
from fedsec.inversion.starts import noise

TV = 1e-4
ITERATIONS = {("inverting-gradients", 1): 1500, ("inverting-gradients", 8): 800,
              ("dlg", 1): 1200, ("dlg", 8): 1200}  # fmt: skip
THEIRS, OURS, NO_TV = "breaching", "fedsec", "fedsec, no total variation"
MEASURED = {
    ("relu", "inverting-gradients", 1): "76", ("relu", "inverting-gradients", 8): "51",
    ("sigmoid", "inverting-gradients", 1): "15.7", ("relu", "dlg", 1): "58 to 61",
    ("sigmoid", "dlg", 1): "58 to 61",
}  # fmt: skip
"""Median PSNR of `breaching` in the runs that the notes describe, on another machine."""


def keys(given: Any) -> list[Key]:
    """All cells: `images` images each, alone or in batches of 8."""
    found: list[Key] = []
    for net in ACTIVATIONS:
        for (attack, batch), iterations in ITERATIONS.items():
            whose = [THEIRS, OURS] if theirs_can_run() else [OURS]
            whose += [NO_TV] if attack == "inverting-gradients" else []
            found += [
                {"net": net, "attack": attack, "batch": batch, "client": client, "by": by,
                 "iterations": given.peer_iterations or iterations}
                for by in whose
                for client in range(max(1, given.images // batch))
            ]  # fmt: skip
    return found


def cell(key: Key) -> Row:
    """One attack on one gradient."""
    data = images_of("digits in colour")
    images = drawn(data, key["batch"], key["client"])
    subject = with_gradient(tiny_net(key["net"]), images, N_CLASSES)
    start = noise(tuple(images.x.shape), torch_stream(key["client"], "start"), torch.device("cpu"))
    rebuild = _theirs if key["by"] == THEIRS else _ours
    x, seconds, versions = rebuild(key, subject, start)
    psnr = score(x, images.x).psnr
    return {"psnr": psnr.tolist(), "seconds": seconds, "versions": versions}


def _ours(
    key: Key, subject: Subject, start: torch.Tensor
) -> tuple[torch.Tensor, float, dict[str, str]]:
    def given(*_: Any) -> torch.Tensor:
        return start

    if key["attack"] == "dlg":
        search = DLG(iterations=key["iterations"], start=given).search()
    else:
        search = replace(
            InvertingGradients(iterations=key["iterations"], start=given, tv=0.0).search(),
            priors=() if key["by"] == NO_TV else (their_total_variation,),
        )
    case = subject.case(subject.facts)
    DLG(iterations=1)(case, generator=torch_stream(0, "warm-up"))  # the first call takes longer
    began = time.process_time()
    generator = torch_stream(key["client"], "attack")
    found = invert_told(case, search, known_labels, generator=generator, adapt=None, watch=None)
    return found.x, time.process_time() - began, {}


def their_total_variation(x: torch.Tensor) -> torch.Tensor:
    """Mean |dx| + |dy| over all pixels, those of the right and lower edge with zeros beyond it."""
    across, down = pad(x, (0, 1)).diff(dim=3), pad(x, (0, 0, 0, 1)).diff(dim=2)
    return TV * (across.abs().mean() + down.abs().mean())


def _theirs(
    key: Key, subject: Subject, start: torch.Tensor
) -> tuple[torch.Tensor, float, dict[str, str]]:
    job = {"net": key["net"], "attack": key["attack"], "iterations": key["iterations"], "tv": TV}
    sent, gradient = subject.victim.parameters, subject.observed[0].update.tensors
    assert subject.truth is not None
    with tempfile.TemporaryDirectory() as folder:
        jobs, found = Path(folder, "jobs.npz"), Path(folder, "found.npz")
        arrays = {f"0.p.{k}": value.numpy() for k, value in enumerate(sent.values())}
        arrays |= {f"0.g.{k}": value.numpy() for k, value in enumerate(gradient.values())}
        np.savez(
            jobs, jobs=json.dumps([job]), **arrays,
            **{"0.y": subject.truth.y.numpy(), "0.start": start.numpy()},
        )  # fmt: skip
        command = [
            PEERS_PYTHON,
            "-W",
            "ignore",
            "-m",
            "benchmarks.peers.run_breaching",
            jobs,
            found,
        ]
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | ONE_THREAD, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        with np.load(found, allow_pickle=False) as read:
            return (
                torch.from_numpy(read["0.x"]), float(read["0.seconds"]),
                json.loads(str(read["versions"])),
            )  # fmt: skip


@cache
def theirs_can_run() -> bool:
    """Whether the peers' environment has the package."""
    if not PEERS_PYTHON.exists():
        return False
    code = "from importlib.metadata import version; version('breaching')"
    return subprocess.run([PEERS_PYTHON, "-c", code], capture_output=True).returncode == 0


def summary(rows: list[Row]) -> dict[str, Any]:
    """A row a net, attack and batch: median over images, and quartiles, by whom."""
    table = []
    for net, attack, batch in dict.fromkeys((r["net"], r["attack"], r["batch"]) for r in rows):
        mine = [r for r in rows if (r["net"], r["attack"], r["batch"]) == (net, attack, batch)]
        found: dict[str, Any] = {
            "net": net, "attack": attack, "batch": batch, "iterations": mine[0]["iterations"],
            "measured before": MEASURED.get((net, attack, batch)),
        }  # fmt: skip
        for by in dict.fromkeys(row["by"] for row in mine):
            some = [row for row in mine if row["by"] == by]
            psnr = np.concatenate([row["psnr"] for row in some])
            low, median, high = np.percentile(psnr, (25, 50, 75))
            found[by] = {
                "images": len(psnr), "median": float(median),
                "quartiles": [float(low), float(high)],
                "seconds": float(np.mean([row["seconds"] for row in some])),
            }  # fmt: skip
        if THEIRS in found:
            found["at least theirs"] = found[OURS]["median"] >= found[THEIRS]["median"]
        table.append(found)
    versions = next((row["versions"] for row in rows if row["by"] == THEIRS), {})
    return {"table": table, "peer versions": versions}
