"""Local steps: how well, and how fast, does each attack rebuild images from a change of parameters?

An untrained network, a client of steps x batch images, each in one step. Everybody is told the
labels, in no order; beside them DLG is told rate and steps, without which a squared distance has no
scale, and the simulation rate, steps and batch size, and in one row also which image was in which
step. All have the same number of iterations, of one evaluation each (in each round).
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks.inversion.cells import Key, Row
from benchmarks.inversion.clients import drawn, images_of, measures, net_of, with_steps
from fedsec.core.record import Knowledge
from fedsec.core.rng import torch_stream
from fedsec.inversion.attacks import AGIC, DLG, SME, Attack, InvertingGradients, Simulation
from fedsec.inversion.audit.subject import Subject
from fedsec.inversion.scores import class_mean_images, mean_image

STEPS, BATCHES = (1, 2, 4, 8), (1, 4)
LR, LARGE_LR = 0.01, 0.1
LARGE = ((4, 1), (8, 1))  # (steps, batch) that the large rate is tried on too
NETS = ("convnet", "resnet")
ROUNDS = 2
CONTROLS = ("mean image", "mean of the class")
ONE_GRADIENT = "inverting-gradients"  # the same as AGIC without layer weights, of one round
FULL = f"agic, {ROUNDS} rounds"
KNOWN_ORDER, UNKNOWN_ORDER = "simulation, order known", "simulation"
SINGLE = ("dlg", ONE_GRADIENT)


def attack_of(name: str, iterations: int) -> Attack:
    """By the names of the table."""
    made: dict[str, Attack] = {
        "dlg": DLG(iterations=iterations),
        ONE_GRADIENT: InvertingGradients(iterations=iterations),
        "agic": AGIC(iterations=iterations),
        FULL: AGIC(iterations=iterations),
        f"{FULL}, equal weights": AGIC(iterations=iterations, weights=None),
        "sme": SME(iterations=iterations),
        UNKNOWN_ORDER: Simulation(iterations=iterations),
        KNOWN_ORDER: Simulation(iterations=iterations),
    }
    return made[name]


ATTACKS = (
    "dlg", ONE_GRADIENT, "agic", f"{FULL}, equal weights", FULL, "sme", UNKNOWN_ORDER, KNOWN_ORDER
)  # fmt: skip


def told(name: str, facts: Knowledge) -> Knowledge:
    """What this attack is told of the facts."""
    assert facts.labels is not None
    if name == KNOWN_ORDER:
        return facts
    labels = Knowledge(labels=tuple(sorted(facts.labels)))
    if name == UNKNOWN_ORDER:
        return replace(labels, lr=facts.lr, steps=facts.steps, batch=facts.batch)
    return replace(labels, lr=facts.lr, steps=facts.steps) if name == "dlg" else labels


def keys(given: Any) -> list[Key]:
    """All cells: net, rate, steps, batch, client and attack."""
    found = []
    for net in given.nets:
        cells = [(LR, steps, batch) for batch in BATCHES for steps in STEPS]
        cells += [(LARGE_LR, steps, batch) for steps, batch in LARGE]
        for lr, steps, batch in cells:
            n_clients = _n_clients(steps * batch, given)
            found += [
                {
                    "data": given.data, "net": net, "wide": given.wide, "lr": lr, "steps": steps,
                    "batch": batch, "client": client, "attack": attack,
                    "iterations": given.iterations, "device": given.device,
                }
                for attack in (*CONTROLS, *ATTACKS)
                for client in range(n_clients)
            ]  # fmt: skip
    return found


def _n_clients(n_images: int, given: Any) -> int:
    """As many as asked for, or as give enough images; fewer, but two, where each has many."""
    enough, plenty = (math.ceil(n / n_images) for n in (given.least, given.plenty))
    return max(enough, min(given.clients, max(2, plenty)))


def client_of(key: Key, rounds: int) -> Subject:
    """The client's number is the seed of its network and of its images."""
    data, seed = images_of(key["data"]), key["client"]
    images = drawn(data, key["steps"] * key["batch"], seed).to(key["device"])
    net = net_of(key["net"], data, seed, key["wide"])
    return with_steps(
        net, images, len(data.classes), steps=key["steps"], lr=key["lr"], rounds=rounds
    )


def cell(key: Key) -> Row:
    """One attack on one client."""
    name = key["attack"]
    subject = client_of(key, ROUNDS if name.startswith(FULL) else 1)
    truth = subject.truth
    assert truth is not None
    if name in CONTROLS:
        train = images_of(key["data"]).train
        guess = (
            mean_image(train, subject.n)
            if name == "mean image"
            else class_mean_images(train, truth.y.cpu())
        )
        return measures(guess, truth.x)
    case = subject.case(told(name, subject.facts))
    generator = torch_stream(key["client"], "attack")
    attack_of(name, 1)(case, generator=torch_stream(0, "warm-up"))  # the first call takes longer
    began = time.process_time()
    found = attack_of(name, key["iterations"])(case, generator=generator)
    cpu = time.process_time() - began
    return {
        **measures(found.x, truth.x), "loss": found.loss, "stopped": found.stopped,
        "iterations run": found.iterations,
        "seconds": cpu if torch.device(key["device"]).type == "cpu" else found.seconds,
    }  # fmt: skip


def summary(rows: list[Row]) -> dict[str, Any]:
    """A row a cell and attack; then the claims, a row a cell."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        where = tuple(row[name] for name in ("net", "lr", "steps", "batch", "attack"))
        groups.setdefault(where, []).append(row)
    table = [
        dict(zip(("net", "lr", "steps", "batch", "attack"), where, strict=True)) | _over(some)
        for where, some in groups.items()
    ]
    return {"table": table, "claims": [_claims(table, *where) for where in _cells(table)]}


def _over(rows: list[Row]) -> dict[str, Any]:
    """Scores over the images of all clients, seconds over clients."""
    found: dict[str, Any] = {"clients": len(rows)}
    for name in ("psnr", "ssim"):
        values = np.concatenate([row[name] for row in rows])
        found |= {"images": len(values), name: float(values.mean()),
                  f"{name} sd": float(values.std(ddof=1)) if len(values) > 1 else 0.0}  # fmt: skip
    seconds = [row["seconds"] for row in rows if "seconds" in row]
    return found | ({"seconds": float(np.mean(seconds))} if seconds else {})


def _cells(table: list[Row]) -> list[tuple[Any, ...]]:
    return list(dict.fromkeys((r["net"], r["lr"], r["steps"], r["batch"]) for r in table))


def _claims(table: list[Row], net: str, lr: float, steps: int, batch: int) -> dict[str, Any]:
    """What the paper claims, in one cell: PSNR over single-update attacks, time of a simulation."""
    of = {
        row["attack"]: row
        for row in table
        if (row["net"], row["lr"], row["steps"], row["batch"]) == (net, lr, steps, batch)
    }
    agic = of[FULL]
    return {
        "net": net, "lr": lr, "steps": steps, "batch": batch,
        "PSNR gained on, %": {
            name: 100 * (agic["psnr"] / of[name]["psnr"] - 1) for name in (*SINGLE, UNKNOWN_ORDER)
        },
        "gained by layer weights, dB": of["agic"]["psnr"] - of[ONE_GRADIENT]["psnr"],
        "gained by a second round, dB": agic["psnr"] - of["agic"]["psnr"],
        "times faster than simulation, one round": of[UNKNOWN_ORDER]["seconds"]
        / of["agic"]["seconds"],
        "times faster than simulation, two rounds": of[UNKNOWN_ORDER]["seconds"]
        / agic["seconds"],
    }  # fmt: skip
