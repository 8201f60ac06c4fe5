"""Points of curves: the best of the attacks, measure by measure."""

from __future__ import annotations

import numpy as np

from fedsec.inversion.attack import Watch
from fedsec.inversion.audit.curves import Got, Leak, Point, best_guess, leak
from fedsec.inversion.audit.findings import attack_of, ground_of
from fedsec.inversion.audit.ladders import LADDERS
from tests.fedsec.inversion.audit.audits import DIGITS, client


def got(name: str, psnr: list[float], hits: list[bool], exposed: list[bool]) -> Got:
    return Got(name, np.array(psnr), np.array(hits), np.array(exposed))


def test_each_measure_is_that_of_the_attack_that_does_best_by_it() -> None:
    one = got("one", [30.0, np.nan, 10.0], [True, False, False], [True, False, False])
    two = got("two", [12.0, 13.0, 14.0], [True, True, False], [False, False, False])
    found = Leak((two, one))
    assert found.best is one and found.best.median == 20
    assert (found.reidentified, found.exposed) == (2 / 3, 1 / 3)


def test_who_knows_the_defence_is_never_weaker() -> None:
    plain = Leak((got("a", [20.0], [False], [False]),))
    adapted = Leak((got("a, adapted", [15.0], [True], [False]),))
    knowing = Point(1, plain, adaptive=adapted).knowing
    assert knowing is not None
    assert knowing.best.median == 20 and knowing.reidentified == 1
    assert Point(1).knowing is None and Point(1, plain).knowing is not None


def test_clients_are_pooled_and_attacked_with_their_labels() -> None:
    clients = [
        (one, ground_of(one, DIGITS.train, 0)) for one in (client(seed=seed) for seed in (1, 2))
    ]
    attacks = {"analytic": attack_of("analytic"), "agic": attack_of("agic", iterations=2)}
    found = leak(clients, attacks, seed=0, watch=Watch())
    assert found is not None and [one.attack for one in found.each] == ["analytic", "agic"]
    assert found.best.attack == "analytic" and found.best.median > 60
    assert found.reidentified == found.exposed == 1
    protection = LADDERS["top-k"].make(0.05)
    hidden = leak(clients, attacks, seed=0, watch=Watch(), protection=protection, adaptive=True)
    assert hidden is not None and hidden.each[1].attack == "agic, adapted"
    assert hidden.best.median < found.best.median
    guess = best_guess([ground for _, ground in clients])
    medians = [
        np.median([float(ground.guesses[name].psnr[0]) for _, ground in clients])
        for name in clients[0][1].guesses
    ]
    assert guess == max(medians)


def test_what_was_interrupted_is_no_point() -> None:
    clients = [(one, ground_of(one, DIGITS.train, 0)) for one in (client(),)]
    attacks = {"agic": attack_of("agic", iterations=2)}
    assert leak(clients, attacks, seed=0, watch=Watch(stop=lambda: True)) is None
    assert leak(clients, {}, seed=0, watch=Watch()) is None
