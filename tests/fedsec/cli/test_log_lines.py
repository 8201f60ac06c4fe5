"""Progress where stderr is a file: lines, neither too many nor beside JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedsec.cli import log_lines
from tests.fedsec.cli.commands import QUICK, done

TRAIN = ("train", "--data", "digits", *QUICK)
INVERT = (
    "invert", "--data", "digits", "--net", "linear", "--images", "1", "--attack",
    "inverting-gradients", "--iterations", "30",
)  # fmt: skip


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_lines, "EVERY", 0.0)


@pytest.mark.usefixtures("at_once")
def test_a_log_says_how_far_a_training_is(tmp_path: Path) -> None:
    said = done(*TRAIN, "--out", str(tmp_path / "run")).stderr
    assert [f"{n} of 4 rounds" in said for n in (1, 2, 3, 4)] == [True] * 4
    assert "accuracy" in said


@pytest.mark.usefixtures("at_once")
def test_a_log_says_how_far_an_attack_is(tmp_path: Path) -> None:
    said = done(*INVERT, "--out", str(tmp_path / "found")).stderr
    assert "10 of 30 iterations done; loss" in said


@pytest.mark.usefixtures("at_once")
def test_json_stands_alone(tmp_path: Path) -> None:
    made = done(*TRAIN, "--json", "--out", str(tmp_path / "run"))
    assert made.stderr == ""
    for line in made.stdout.splitlines():
        json.loads(line)


def test_what_is_short_says_nothing(tmp_path: Path) -> None:
    assert "of 4 rounds" not in done(*TRAIN, "--out", str(tmp_path / "run")).stderr


def test_a_line_waits_for_its_turn(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    clock = [100.0]
    monkeypatch.setattr(log_lines.time, "monotonic", lambda: clock[0])
    tell = log_lines.now_and_then()
    for now, line in ((110.0, "early"), (130.0, "first"), (159.0, "early"), (160.0, "second")):
        clock[0] = now
        tell(line)
    assert capsys.readouterr().err.splitlines() == ["first", "second"]
