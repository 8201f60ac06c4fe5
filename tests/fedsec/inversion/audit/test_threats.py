"""Attackers are told what their threat model says, and no more."""

from __future__ import annotations

from dataclasses import fields

import pytest

from fedsec.core.record import Knowledge
from fedsec.errors import SettingsError
from fedsec.inversion.attacks import ATTACKS
from fedsec.inversion.audit.threats import THREATS
from fedsec.inversion.audit.words import ATTACK_WORDS

FACTS = Knowledge(labels=(1, 2), lr=0.1, steps=2, batch=1, order=((0,), (1,)))


@pytest.mark.parametrize("name", THREATS)
def test_what_is_not_known_is_not_told(name: str) -> None:
    threat = THREATS[name]
    told = threat.told(FACTS, "delta")
    for field in fields(Knowledge):
        known = getattr(told, field.name)
        assert known == (getattr(FACTS, field.name) if field.name in threat.knows else None)


def test_every_attack_stands_somewhere_and_is_described() -> None:
    assert {name for one in THREATS.values() for name in one.attacks} == set(ATTACKS)
    assert set(ATTACK_WORDS) == set(ATTACKS)


def test_who_knows_more_can_do_what_who_knows_less_can() -> None:
    can = {a: [b for b in THREATS if THREATS[a].includes(THREATS[b])] for a in THREATS}
    assert can == {
        "update": ["update"], "labels": ["update", "labels"], "recipe": ["update", "recipe"],
        "everything": ["update", "labels", "recipe", "everything"],
    }  # fmt: skip


def test_what_nobody_told_the_auditor_is_asked_for() -> None:
    with pytest.raises(SettingsError, match="the client's lr or steps: give lr and steps to run"):
        THREATS["recipe"].told(Knowledge(labels=(1,)), "delta")
    with pytest.raises(SettingsError, match="a gradient: it has no rate and no steps"):
        THREATS["everything"].told(FACTS, "gradient")
    assert THREATS["recipe"].told(Knowledge(lr=0.1, steps=2), "delta").batch is None
