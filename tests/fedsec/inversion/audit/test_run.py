"""The audit as a whole, on small clients and for a few iterations."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from fedsec.core.rng import stream
from fedsec.data.partitions import iid
from fedsec.errors import SettingsError
from fedsec.federated.local import LocalTraining
from fedsec.federated.simulate import Federation
from fedsec.federated.task import Task
from fedsec.inversion.audit import Audit, Cost, Follow, Recipe, audit
from fedsec.inversion.audit.threats import THREATS
from fedsec.inversion.victim import classifier
from tests.fedsec.inversion.audit.audits import ANALYTIC, DIGITS, GRADIENT, TINY, client, dense_net

RECIPE = Recipe(images=2, local=LocalTraining(batch=1, lr=0.05))


def cost() -> Cost:
    parts = iid(DIGITS.train.y.numpy(), 4, stream(0, "partition")).parts
    task = Task(dense_net(), DIGITS.train, parts, DIGITS.test, 10)
    return Cost(task=task, federation=Federation(per_round=2, local=LocalTraining(lr=0.1)))


@pytest.fixture(scope="module")
def full() -> Audit:
    """All threat models and attacks, and a curve of each kind."""
    scope = replace(TINY, clients=1, ladders=("top-k", "soteria"))
    return audit(client(2, RECIPE.local), DIGITS, recipe=RECIPE, scope=scope, cost=cost())


def test_every_attack_is_run_or_says_why_not(full: Audit) -> None:
    ran = [(one.threat, one.attack) for one in full.findings]
    assert ran == [(threat, name) for threat, one in THREATS.items() for name in one.attacks]
    not_run = {one.attack for one in full.findings if one.found is None}
    assert not_run == {"idlg"}
    for one in full.findings:
        assert (one.found is None) == (one.why_not is not None)
        assert one.found is None or (one.scores is not None and one.found.iterations <= 4)
        told = {name for name in ("labels", "lr", "steps", "batch", "order")
                if getattr(one.knowledge, name) is not None}  # fmt: skip
        assert one.found is None or told == set(THREATS[one.threat].knows)


def test_one_image_and_a_dense_network_are_exposed() -> None:
    found = audit(client(), DIGITS, recipe=RECIPE, scope=ANALYTIC)
    (verdict,) = found.verdicts
    assert verdict.level == "exposed" and verdict.attack == "analytic" and not found.left_out
    assert found.curves == () and not found.cut_short


def test_curves_have_all_their_points_and_no_defence_beside(full: Audit) -> None:
    assert [one.name for one in full.curves] == ["steps", "batches", "top-k", "soteria"]
    for curve in full.curves:
        assert curve.why_not is None and len(curve.points) == 1
        point = curve.points[0]
        assert point.leak is not None and point.guess is not None and point.knowing is not None
        is_defence = curve.name in ("top-k", "soteria")
        assert (point.adaptive is not None) == (point.accuracy is not None) == is_defence
        assert (curve.plain is not None) == is_defence
    assert full.curve_by[-1] == "analytic" and full.curve_by[0] in THREATS["labels"].attacks
    names = {one.attack for curve in full.curves for p in curve.points if p.leak
             for one in p.leak.each}  # fmt: skip
    assert names == set(full.curve_by)


def test_the_same_seed_gives_the_same_figures() -> None:
    scope = replace(TINY, threats=("update",), attacks=("agic",), clients=1, ladders=())
    one, two = (
        audit(client(2), DIGITS, recipe=Recipe(images=2, local=GRADIENT), scope=scope)
        for _ in range(2)
    )
    for first, second in zip(one.findings, two.findings, strict=True):
        assert first.found is not None and second.found is not None
        assert torch.equal(first.found.x, second.found.x)
    assert [curve.points[0].leak.best.median for curve in one.curves if curve.points[0].leak] == [
        curve.points[0].leak.best.median for curve in two.curves if curve.points[0].leak
    ]


def test_an_interrupted_audit_has_what_was_done_and_says_what_was_not() -> None:
    asked: list[int] = []

    def progress(done: int, n: int, what: str, share: float) -> None:
        if what.startswith("inverting-gradients"):
            asked.append(done)

    scope = replace(TINY, threats=("update", "labels"), attacks=("analytic", "inverting-gradients"),
                    clients=1)  # fmt: skip
    found = audit(
        client(), DIGITS, recipe=RECIPE, scope=scope,
        follow=Follow(progress=progress, stop=lambda: bool(asked)),
    )  # fmt: skip
    assert [one.attack for one in found.findings] == ["analytic", "inverting-gradients"]
    assert found.findings[1].why_not == "it was ended before its first iteration"
    assert found.verdicts[0].level == "exposed"  # by what was done
    assert "inverting-gradients: Server knows the labels" in found.left_out
    assert found.curves == ()


def test_what_did_not_get_all_its_iterations_is_named() -> None:
    scope = replace(TINY, threats=("update",), attacks=("agic",), iterations=1000)
    n_asked = iter(range(1000))
    found = audit(
        client(), DIGITS, recipe=RECIPE, scope=scope,
        follow=Follow(stop=lambda: next(n_asked) > 5),
    )  # fmt: skip
    (one,) = found.findings
    assert one.found is not None and one.found.stopped == "interrupted"
    assert 0 < one.found.iterations < 6
    assert found.cut_short == ("agic (Server reads the update)",)


def test_a_short_time_leaves_parts_out() -> None:
    found = audit(client(), DIGITS, recipe=RECIPE, scope=TINY, follow=Follow(seconds=1e-9))
    assert found.findings == () and len(found.left_out) == 14
    assert {one.level for one in found.verdicts} == {"unknown"}


def test_a_gradient_has_no_recipe_to_know() -> None:
    scope = replace(TINY, threats=("recipe", "everything"))
    found = audit(client(2), DIGITS, recipe=RECIPE, scope=scope)
    assert all(one.why_not and "it has no rate" in one.why_not for one in found.findings)
    assert {one.level for one in found.verdicts} == {"unknown"}


def test_a_defence_that_does_not_fit_says_so() -> None:
    scope = replace(ANALYTIC, clients=1, steps=(), batches=(), ladders=("dp-sgd",))
    found = audit(client(), DIGITS, recipe=RECIPE, scope=scope)
    (curve,) = found.curves
    assert curve.points == () and curve.why_not is not None
    assert "clients that send one gradient" in curve.why_not


def test_a_network_that_cannot_be_attacked_is_refused() -> None:
    other = classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)))
    with pytest.raises(SettingsError, match="10 classes need"):
        audit(replace(client(), victim=other), DIGITS, recipe=RECIPE, scope=TINY)
