"""What do defences of answers take from a copy, and from the victim's own customers?

Digits, labels flipped for a share of all images (the same ones each time), and probabilities that
are rounded or cut to the first class. The victim's own cost is that of its answers on test images.
PRADA's detector listens to every run without a defence, and refuses nobody: its score, and when it
would have rung; beside it the score of a customer who asks about the training images.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.inversion.cells import Key, Row
from benchmarks.stealing_parts.copies import scores, stolen_by
from benchmarks.stealing_parts.victims import data_of, victim_of
from fedsec.stealing.answers import LabelFlips, Rounded, TopOne
from fedsec.stealing.detection import Detector
from fedsec.stealing.oracle import Answer, ModelOracle

SHARES = (0.0, 0.05, 0.1, 0.2, 0.4)
DECIMALS = (3, 2, 1)
METHODS = ("mega+", "noise")
FLIPS, ROUNDED, TOP_ONE, CUSTOMER = "labels flipped", "decimals", "first class alone", "customer"


def keys(given: Any) -> list[Key]:
    """A cell a defence, strength, method and seed."""
    base = {
        "data": "digits", "net": "cnn-bn", "limit": 0, "test": 0, "budget": given.defence_budget,
        "passes": given.passes, "device": given.device, "copy": None,
    }  # fmt: skip
    found: list[Key] = []
    for seed in range(given.seeds):
        found.append({**base, "mode": "labels", "method": CUSTOMER, "seed": seed, "defence": "",
                      "at": 0.0})  # fmt: skip
        for method in METHODS:
            found += [
                {**base, "mode": "labels", "method": method, "seed": seed, "defence": FLIPS,
                 "at": share}
                for share in SHARES
            ]  # fmt: skip
        for defence, at in [("", 0.0), *((ROUNDED, float(n)) for n in DECIMALS), (TOP_ONE, 0.0)]:
            found.append({**base, "mode": "probabilities", "method": "mega+", "seed": seed,
                          "defence": defence, "at": at})  # fmt: skip
    return found


def cell(key: Key) -> Row:
    """One copy through the defence, or what the detector thinks of a customer."""
    images, (net, state) = data_of(key), victim_of(key)
    detector = Detector()
    if key["method"] == CUSTOMER:
        oracle = ModelOracle(net, state, (1, 8, 8), len(images.classes), answers=(detector,))
        for part in images.train.x.split(256):
            oracle(part)
        return {"score": detector.score(), "alarm": detector.first_alarm}
    defence = defence_of(key)
    listening = key["mode"] == "labels" and key["at"] == 0
    answers: tuple[Answer, ...] = () if defence is None else (defence,)
    _, stolen, evaluate = stolen_by(key, (detector,) if listening else answers)
    oracle = ModelOracle(net, state, (1, 8, 8), len(images.classes), answers=answers)
    own = float((oracle(images.test.x) == images.test.y).double().mean())
    heard = {"score": detector.score(), "alarm": detector.first_alarm} if listening else {}
    return {"own": own, **scores(stolen, evaluate), **heard}


def defence_of(key: Key) -> Answer | None:
    """The defence of a cell; None for none."""
    if key["defence"] == FLIPS and key["at"] > 0:
        return LabelFlips(share=key["at"], secret=key["seed"])
    if key["defence"] == ROUNDED:
        return Rounded(decimals=int(key["at"]))
    return TopOne() if key["defence"] == TOP_ONE else None


def summary(rows: list[Row]) -> dict[str, Any]:
    """Median and worst over seeds by method, defence and strength."""
    groups: dict[tuple[str, str, str, float], list[Row]] = {}
    for row in rows:
        if row["method"] != CUSTOMER:
            place = (row["mode"], row["method"], row["defence"], row["at"])
            groups.setdefault(place, []).append(row)
    return {
        "budget": rows[0]["budget"], "seeds": len({row["seed"] for row in rows}),
        "table": [
            {"mode": mode, "method": method, "defence": defence, "at": at,
             "own": float(np.median([row["own"] for row in own])),
             "accuracy": float(np.median([row["accuracy"] for row in own])),
             "highest": float(max(row["accuracy"] for row in own)),
             "agreement": float(np.median([row["agreement"] for row in own]))}
            for (mode, method, defence, at), own in groups.items()
        ],
        "detector": [
            {"who": who,
             "score": float(np.median([row["score"] for row in rows if _is(row, who)])),
             "alarms": [row["alarm"] for row in rows if _is(row, who)]}
            for who in (*METHODS, CUSTOMER)
        ],
    }  # fmt: skip


def _is(row: Row, who: str) -> bool:
    return row["method"] == who and "score" in row
