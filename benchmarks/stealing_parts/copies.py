"""How good a copy does each method get from one budget, and do its adversarial examples carry over?

All methods attack the same victim of a seed, from the same parameters of the copy, through the same
oracle, as `fedsec.stealing.lineup` sizes them. Three rows stand apart: `real data` has the victim's
own training images and another network (no budget: what a copy cannot be expected to beat by
transfer); `mega+ on ...` and `noise on ...` have another network for the copy.

Kept is the copy that the attacker would keep: the one that agrees most with answers put aside.
Transfer is untargeted, on test images that the victim has right: FGSM, and BIM and PGD with ten
steps of eps / 4, at each eps; and the settings of the authors' evaluation code ("published").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.inversion.cells import Key, Row
from benchmarks.stealing_parts.victims import (
    copy_of,
    data_of,
    labels_by,
    loaded,
    surrogate_for,
    trained_on_real,
    victim_of,
)
from fedsec.core.functional import state_of
from fedsec.core.rng import torch_stream
from fedsec.data.images import ImageData
from fedsec.stealing.attack import Stolen, Watch
from fedsec.stealing.lineup import WITH_IMAGES, Stake, method_for
from fedsec.stealing.oracle import Answer, ModelOracle
from fedsec.stealing.perturbations import Bim, Fgsm, Perturbation, Pgd
from fedsec.stealing.records import CopyScore, copy_evaluator, effective_classes
from fedsec.stealing.transfer import transfer_success

LABELS = ("noise", "mega", "mega+", "tandemgan", "dast", "dfme", "maze", "zsdb3kd", "knockoff")
SOFT = ("noise", "mega", "mega+", "tandemgan", "dast", "dfme", "maze", "knockoff")
REAL = "real data"
EPSILONS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
ATTACKS: dict[str, Callable[[float], Perturbation]] = {
    "FGSM": lambda eps: Fgsm(eps=eps),
    "BIM": lambda eps: Bim(eps=eps, steps=10, step=eps / 4),
    "PGD": lambda eps: Pgd(eps=eps, steps=10, step=eps / 4),
}
PUBLISHED: dict[str, Perturbation] = {"FGSM": Fgsm(), "BIM": Bim(), "PGD": Pgd()}
POINTS = 25  # of a curve
N_TRANSFER = 500  # test images


def keys(given: Any, data: str, mode: str) -> list[Key]:
    """A cell a method and seed."""
    methods = LABELS if mode == "labels" else SOFT
    digits = data == "digits"
    base = {
        "data": data, "mode": mode, "net": "cnn-bn" if digits or given.wide else "small",
        "limit": 0 if digits or given.wide else given.fashion_images,
        "test": 0 if digits or given.wide else 2000,
        "budget": given.budget if digits else given.fashion_budget,
        "passes": given.passes if digits else given.fashion_passes,
        "device": given.device,
    }  # fmt: skip
    found = [
        {**base, "method": method, "seed": seed, "copy": None}
        for seed in range(given.seeds)
        for method in methods
    ]
    if mode == "labels":
        found += [
            {**base, "method": method, "seed": seed, "copy": "mlp"}
            for seed in range(given.seeds)
            for method in ((REAL, "mega+", "noise") if digits else (REAL,))
        ]
    return found


def cell(key: Key) -> Row:
    """One copy, scored."""
    images, (net, state) = data_of(key), victim_of(key)
    victims = labels_by(net, state, images.test.x)
    own = float((victims == images.test.y).double().mean())
    if key["method"] == REAL:
        copy = trained_on_real(key, key["copy"])
        score = copy_evaluator(copy, images.test, victims)(state_of(copy))
        return {
            "victim": own, "accuracy": score.accuracy, "agreement": score.agreement,
            "transfer": transfers(copy, net, images, key["seed"]),
        }  # fmt: skip
    copy, stolen, evaluate = stolen_by(key)
    row = {"victim": own, **scores(stolen, evaluate)}
    row["transfer"] = transfers(loaded(copy, stolen.best), net, images, key["seed"])
    row["curve"] = [
        {"queries": one.queries, "accuracy": one.accuracy, "agreement": one.agreement,
         "classes": effective_classes(one.histogram) if sum(one.histogram) else None}
        for one in stolen.records
    ]  # fmt: skip
    return row


def stolen_by(
    key: Key, answers: tuple[Answer, ...] = ()
) -> tuple[nn.Module, Stolen, Callable[..., CopyScore]]:
    """The network of the copy, what the attack got, and what scores it."""
    images, (net, state) = data_of(key), victim_of(key)
    victims = labels_by(net, state, images.test.x)
    _, channels, height, width = images.test.x.shape
    shape, n_classes = (channels, height, width), len(images.classes)
    stake = Stake(
        budget=key["budget"], mode=key["mode"], shape=shape, n_classes=n_classes,
        passes=key["passes"],
        surrogate=surrogate_for(key["data"]) if key["method"] in WITH_IMAGES else None,
    )  # fmt: skip
    copy = copy_of(key, key.get("copy"))
    oracle = ModelOracle(
        net, state, shape, n_classes, mode=key["mode"], budget=key["budget"], answers=answers
    )
    evaluate = copy_evaluator(copy, images.test, victims)
    stolen = method_for(key["method"], stake)(
        oracle, copy, seed=key["seed"], evaluate=evaluate,
        watch=Watch(every=max(1, key["budget"] // POINTS)),
    )  # fmt: skip
    return copy, stolen, evaluate


def scores(stolen: Stolen, evaluate: Callable[..., CopyScore]) -> Row:
    """Of the copy that is kept, of the last, and of the best on test images."""
    kept, last = evaluate(stolen.best), evaluate(stolen.state)
    return {
        "accuracy": kept.accuracy, "agreement": kept.agreement, "kept at": stolen.best_queries,
        "last": last.accuracy, "last agreement": last.agreement, "best": stolen.best_on_test,
        "queries": stolen.queries, "steps": stolen.substitute_steps, "seconds": stolen.seconds,
        "stopped": stolen.stopped,
    }  # fmt: skip


def transfers(copy: nn.Module, victim: nn.Module, images: ImageData, seed: int) -> Row:
    """Success by attack: at each eps, and with the published settings."""
    some = images.test.subset(torch.arange(min(N_TRANSFER, len(images.test))))

    def success(attack: Perturbation, name: str) -> float:
        rng = torch_stream(seed, f"transfer {name}", device=some.x.device)
        return transfer_success(copy, victim, some, attack, generator=rng).success

    return {
        name: {
            "eps": [success(make(eps), f"{name} {eps}") for eps in EPSILONS],
            "published": success(PUBLISHED[name], f"{name} published"),
        }
        for name, make in ATTACKS.items()
    }


def called(row: Row) -> str:
    """The name of a row of the table."""
    return f"{row['method']} on {row['copy']}" if row["copy"] else str(row["method"])


def summary(rows: list[Row]) -> dict[str, Any]:
    """Median and worst over seeds by method, differences paired by seed, and the curves."""
    names = dict.fromkeys(called(row) for row in rows)
    by_name = {name: [row for row in rows if called(row) == name] for name in names}
    asked = {row["queries"] for row in rows if "queries" in row}
    return {
        "budget": rows[0]["budget"], "passes": rows[0]["passes"], "mode": rows[0]["mode"],
        "net": rows[0]["net"], "seeds": len({row["seed"] for row in rows}),
        "victim": _spread([row["victim"] for row in by_name["noise"]]),
        "queries asked": sorted(asked),
        "table": [_of_method(name, own) for name, own in by_name.items()],
        "ahead": _ahead(by_name),
        "curves": {
            name: [row["curve"] for row in own]
            for name, own in by_name.items()
            if "curve" in own[0] and not own[0]["copy"]
        },
    }  # fmt: skip


def _of_method(name: str, own: list[Row]) -> Row:
    found: Row = {"method": name}
    for what in ("accuracy", "agreement", "last", "best"):
        if what in own[0]:
            found[what] = _spread([row[what] for row in own])
    if "last" in own[0]:
        found["gap"] = float(np.median([row["best"] - row["last"] for row in own]))
        found |= {
            what: float(np.median([row[what] for row in own]))
            for what in ("queries", "steps", "seconds")
        }
        found["stopped"] = sorted({row["stopped"] for row in own})
        classes = [row["curve"][-1]["classes"] for row in own]
        found["classes"] = None if None in classes else float(np.median(classes))
    found["transfer"] = {
        attack: {
            "eps": [
                _spread([row["transfer"][attack]["eps"][place] for row in own])
                for place in range(len(EPSILONS))
            ],
            "published": _spread([row["transfer"][attack]["published"] for row in own]),
        }
        for attack in ATTACKS
    }
    return found


def _ahead(by_name: dict[str, list[Row]]) -> dict[str, Any]:
    """By how much MEGA's two forms and TandemGAN are ahead of each other method, by seed."""
    found: dict[str, Any] = {}
    others = [name for name in by_name if not by_name[name][0]["copy"]]
    for ours in ("mega", "mega+", "tandemgan"):
        found[ours] = {
            other: {
                "accuracy": _paired(by_name[ours], by_name[other], lambda row: row["accuracy"]),
                "transfer": _paired(by_name[ours], by_name[other], _bim),
            }
            for other in others
            if other != ours
        }
    return found


def _bim(row: Row) -> float:
    return float(row["transfer"]["BIM"]["eps"][EPSILONS.index(0.2)])


def _paired(ours: list[Row], theirs: list[Row], what: Callable[[Row], float]) -> dict[str, float]:
    return _spread([what(a) - what(b) for a, b in zip(ours, theirs, strict=True)])


def _spread(values: list[float]) -> dict[str, float]:
    """Median, and the lowest and highest seed."""
    return {
        "median": float(np.median(values)), "worst": float(min(values)),
        "highest": float(max(values)),
    }  # fmt: skip
