"""What does each defence take from the strongest attack, and from the federation's accuracy?

Digits, the two-layer CNN, untrained; clients send the gradient of one image, whose label is known.
Inverting Gradients and DLG are run; the one with the higher mean PSNR counts, at each strength.
Where knowing the defence changes what an attacker does, it is run that way too. Accuracy is that
of ten clients on digits, all in every round; DP-SGD is compared with its own plain form, one
gradient a round. Local steps and larger batches are defences of a kind: then a client has that many
images, and the change of parameters is attacked by AGIC as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks.inversion.cells import Key, Row
from benchmarks.inversion.clients import drawn, images_of, net_of, with_gradient, with_steps
from fedsec.core.record import Knowledge
from fedsec.core.rng import stream, torch_stream
from fedsec.data.partitions import iid
from fedsec.federated.defence_cost import accuracy_with
from fedsec.federated.local import FullGradient, LocalTraining
from fedsec.federated.privacy import RelativeNoise, laplace
from fedsec.federated.simulate import Federation
from fedsec.federated.task import Task
from fedsec.inversion.adapt import adaptation_to
from fedsec.inversion.attacks import AGIC, DLG, Attack, InvertingGradients
from fedsec.inversion.audit.ladders import LADDERS, Ladder, can_adapt, federated, protected
from fedsec.inversion.audit.subject import Subject
from fedsec.inversion.scores import controls, score

DATA, NET = "digits", "cnn"
NONE = "no defence"
STEPS, BATCH = "local steps", "images in a step"
SETTINGS: dict[str, tuple[float, ...]] = {STEPS: (1, 2, 4, 8), BATCH: (1, 2, 4, 8)}
MAPS: dict[str, Ladder] = LADDERS | {
    "laplace": Ladder(
        title="Laplace noise",
        axis="standard deviation, times the RMS of the update",
        strengths=LADDERS["noise"].strengths,
        make=lambda scale: RelativeNoise(scale=scale, law=laplace),
    )
}
LR = 0.05
N_CLIENTS = 10
USUAL = LocalTraining(batch=8, lr=LR)
ONE_GRADIENT = FullGradient(lr=0.5)
ROUNDS = {"usual": 20, "one gradient": 60}
ATTACKS = ("inverting-gradients", "dlg")


def keys(given: Any) -> list[Key]:
    """Attacks on each client, and trainings."""
    found: list[Key] = []
    for defence, at, knows in _places():
        attacks = (*ATTACKS, "agic") if defence == STEPS else ATTACKS
        found += [
            {"what": "leak", "defence": defence, "at": at, "knows": knows, "attack": attack,
             "client": client, "iterations": given.defence_iterations}
            for attack in attacks
            for client in range(max(given.clients, given.least))
        ]  # fmt: skip
    for defence, at in [(f"{NONE}, {how}", 0.0) for how in ROUNDS] + _strengths():
        found += [
            {"what": "accuracy", "defence": defence, "at": at, "seed": seed, "rounds": given.rounds}
            for seed in range(given.seeds)
        ]
    return found


def _strengths() -> list[tuple[str, float]]:
    return [(name, at) for name, ladder in MAPS.items() for at in ladder.strengths]


def _places() -> list[tuple[str, float, bool]]:
    """(defence, strength, whether the attacker knows it), each where it makes a difference."""
    found = [(NONE, 0.0, False)]
    for name, at in _strengths():
        found.append((name, at, False))
        if can_adapt(MAPS[name].make(at)):
            found.append((name, at, True))
    return found + [(name, at, False) for name, every in SETTINGS.items() for at in every]


def cell(key: Key) -> Row:
    """A client attacked, or a federation trained."""
    return _leak(key) if key["what"] == "leak" else _accuracy(key)


def client_of(defence: str, at: float, seed: int) -> Subject:
    """A client without a defence, but for its settings."""
    data = images_of(DATA)
    images = drawn(data, int(at) if defence in SETTINGS else 1, seed)
    net, n_classes = net_of(NET, data, seed), len(data.classes)
    if defence == STEPS:
        return with_steps(net, images, n_classes, steps=int(at), lr=LR)
    return with_gradient(net, images, n_classes)


def _leak(key: Key) -> Row:
    defence, at, seed = key["defence"], key["at"], key["client"]
    subject, adapt = client_of(defence, at, seed), None
    if defence in MAPS:
        draw = torch_stream(seed, f"defence {defence}")
        subject, knowing = protected(subject, MAPS[defence].make(at), draw)
        adapt = adaptation_to(knowing) if key["knows"] else None
    attacks: dict[str, type[Attack]] = {
        "inverting-gradients": InvertingGradients, "dlg": DLG, "agic": AGIC
    }  # fmt: skip
    attack = partial(attacks[key["attack"]], iterations=key["iterations"])()
    facts = subject.facts
    known = Knowledge(labels=facts.labels, lr=facts.lr, steps=facts.steps)
    found = attack(
        subject.case(known), generator=torch_stream(seed, f"attack {key['attack']}"), adapt=adapt
    )
    truth, population = subject.truth, images_of(DATA).train
    assert truth is not None
    scores = score(found.x, truth.x, population=population)
    assert scores.reidentified is not None
    guesses = controls(
        truth.x, population, generator=torch_stream(seed, "guess"), true_labels=truth.y
    )
    return {
        "psnr": float(np.nanmean(scores.psnr)), "ssim": float(np.nanmean(scores.ssim)),
        "reidentified": float(scores.reidentified.mean()),
        "best guess": max(float(np.nanmean(one.psnr)) for one in guesses.values()),
    }  # fmt: skip


def _accuracy(key: Key) -> Row:
    defence = key["defence"]
    data = images_of(DATA)
    parts = iid(data.train.y.numpy(), N_CLIENTS, stream(0, "partition")).parts
    task = Task(net_of(NET, data, 0), data.train, parts, data.test, len(data.classes))
    how = "one gradient" if defence in ("dp-sgd", f"{NONE}, one gradient") else "usual"
    local = ONE_GRADIENT if how == "one gradient" else USUAL
    base = Federation(per_round=N_CLIENTS, local=local)
    if defence in MAPS:
        base = federated(base, MAPS[defence].make(key["at"]))
    found = accuracy_with(task, base, n_rounds=key["rounds"] or ROUNDS[how], seeds=[key["seed"]])
    return {"accuracy": float(found[0])}


def summary(rows: list[Row]) -> dict[str, Any]:
    """For each defence: leakage and accuracy by strength, and whether leakage only falls."""
    leaks = [row for row in rows if row["what"] == "leak"]
    trained = [row for row in rows if row["what"] == "accuracy"]
    plain = _strongest([row for row in leaks if row["defence"] == NONE])
    found: dict[str, Any] = {
        NONE: plain,
        "best guess": float(np.mean([r["best guess"] for r in leaks if r["defence"] == NONE])),
        "accuracy without": {
            how: _mean([r["accuracy"] for r in trained if r["defence"] == f"{NONE}, {how}"])
            for how in ROUNDS
        },
        "defences": {},
    }
    for defence in dict.fromkeys(row["defence"] for row in leaks if row["defence"] != NONE):
        mine = [row for row in leaks if row["defence"] == defence]
        points = []
        for at in dict.fromkeys(row["at"] for row in mine):
            here = [row for row in mine if row["at"] == at]
            blind = _strongest([row for row in here if not row["knows"]])
            knowing = _strongest([row for row in here if row["knows"]])
            points.append({
                "at": at, "blind": blind, "knowing": knowing,
                "accuracy": _mean([r["accuracy"] for r in trained
                                   if (r["defence"], r["at"]) == (defence, at)]),
            })  # fmt: skip
        found["defences"][defence] = {
            "points": points,
            "largest rise, dB": _largest_rise([
                *([plain["psnr"]] if defence in MAPS else []),
                *(point["blind"]["psnr"] for point in points),
            ]),
            "knowing at least blind": all(
                point["knowing"]["psnr"] >= point["blind"]["psnr"]
                for point in points if point["knowing"]
            ),
        }  # fmt: skip
    return found


def _strongest(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Of the attacks the one with the highest mean PSNR over clients."""
    best: dict[str, Any] | None = None
    for attack in dict.fromkeys(row["attack"] for row in rows):
        some = [row for row in rows if row["attack"] == attack]
        psnr = [row["psnr"] for row in some]
        if best is None or np.mean(psnr) > best["psnr"]:
            best = {
                "attack": attack, "psnr": float(np.mean(psnr)),
                "sd": float(np.std(psnr, ddof=1)) if len(psnr) > 1 else 0.0,
                "median": float(np.median(psnr)),
                "ssim": float(np.mean([row["ssim"] for row in some])),
                "reidentified": float(np.mean([row["reidentified"] for row in some])),
            }  # fmt: skip
    return best


def _largest_rise(values: Sequence[float]) -> float:
    """By which a stronger defence leaks more than a weaker one did; 0 where it never does."""
    return float(max([0.0, *np.diff(values)]))


def _mean(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "sd": sd}
