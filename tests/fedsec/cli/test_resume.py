"""Stopped by Ctrl-C, by a bad update or by a crash, a run goes on as if nothing had happened."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from fedsec.core.record import read_results
from fedsec.federated import simulate
from fedsec.federated.engines import Trained
from fedsec.federated.history import load_progress
from tests.fedsec.cli.commands import QUICK, done, refused, run, started

WORDS = ("train", *QUICK, "--select", "random", "--select", "fedemd", "--rounds", "12")
SLOW = """
import time
import fedsec.federated.simulate as simulate
fast = simulate.play
def play(*given, **named):
    print("playing", flush=True)
    time.sleep({pause})
    return fast(*given, **named)
simulate.play = play
"""
OFTEN = "import fedsec.cli.checkpoints as checkpoints; checkpoints.SECONDS = 0.0\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uninterrupted run."""
    out = tmp_path_factory.mktemp("whole") / "out"
    done(*WORDS, "--out", out)
    return out


def same(one: Path, two: Path) -> None:
    """All models alike to the bit, and what they scored."""
    names = sorted(path.name for path in one.glob("model*"))
    assert names and names == sorted(path.name for path in two.glob("model*"))
    for name in names:
        assert (one / name).read_bytes() == (two / name).read_bytes()
    for a, b in zip(
        read_results(one / "results.jsonl"), read_results(two / "results.jsonl"), strict=True
    ):
        assert a.settings == b.settings
        assert {**a.measures, "seconds": None} == {**b.measures, "seconds": None}


def test_ctrl_c_keeps_a_checkpoint_and_resume_gives_the_same_bits(
    whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = started(SLOW.format(pause=0.05), *WORDS, "--out", out)
    assert process.stdout is not None
    for _ in range(15):  # the second run has begun
        assert process.stdout.readline() == "playing\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "stopping after this round" in said and "Traceback" not in said
    assert "interrupted after round " in said and " of fedemd, seed 0" in said
    assert "the same command with --resume goes on" in said.splitlines()[-1]
    assert sorted(path.name for path in out.iterdir()) == ["checkpoints", "settings.json"]
    kept = load_progress(out / "checkpoints" / "fedemd-seed0.safetensors")
    assert 1 <= len(kept.rounds) < 12
    done(*WORDS, "--out", out, "--resume")
    same(whole, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_a_second_ctrl_c_leaves_at_once(tmp_path: Path) -> None:
    process = started(SLOW.format(pause=30), *WORDS, "--out", tmp_path / "out")
    assert process.stdout is not None and process.stdout.readline() == "playing\n"
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(1)
    _, said = process.communicate(timeout=25)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "interrupted: nothing was written"
    assert list(tmp_path.iterdir()) == []


def test_a_killed_run_goes_on_from_its_last_checkpoint(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = started(OFTEN + SLOW.format(pause=0.05), *WORDS, "--out", out)
    assert process.stdout is not None
    for _ in range(6):
        assert process.stdout.readline() == "playing\n"
    process.kill()
    process.communicate(timeout=60)
    kept = load_progress(out / "checkpoints" / "random-seed0.safetensors")
    assert len(kept.rounds) >= 4
    done(*WORDS, "--out", out, "--resume")
    same(whole, out)


def test_ctrl_c_without_out_says_that_nothing_is_kept() -> None:
    process = started(SLOW.format(pause=0.05), *WORDS)
    assert process.stdout is not None and process.stdout.readline() == "playing\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines()[-1].endswith("nothing was kept; with --out DIR a run can be gone on "
                                          "with")  # fmt: skip


def test_more_rounds_and_seeds_can_be_added(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    fixed = (*WORDS, "--beta", 0.05)
    done(*fixed, "--rounds", 5, "--out", out)
    before = (out / "checkpoints" / "random-seed0.safetensors").stat()
    done(*fixed, "--seeds", 2, "--out", out, "--resume")
    direct = tmp_path / "direct"
    done(*fixed, "--seeds", 2, "--out", direct)
    same(direct, out)
    assert before.st_size < (out / "checkpoints" / "random-seed0.safetensors").stat().st_size
    again = done(*fixed, "--seeds", 2, "--out", out, "--resume", "--json")  # all is there
    assert len(again.stdout.splitlines()) == 4
    same(direct, out)


def test_a_bad_update_keeps_the_rounds_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = simulate._train

    def poisoned(*asked: Any) -> list[Trained]:
        trained = usual(*asked)
        if trained[0].update.round == 4:
            next(iter(trained[1].update.tensors.values())).fill_(torch.nan)
        return trained

    monkeypatch.setattr(simulate, "_train", poisoned)
    words = ("train", *QUICK, "--rounds", 6, "--select", "random")
    out = tmp_path / "out"
    said = refused(*words, "--out", out)
    assert said.startswith("client ") and ", round 4: " in said
    assert said.endswith("has the 3 rounds before it: go on with --resume --skip-bad-updates")
    gone_on = done(*words, "--out", out, "--resume", "--skip-bad-updates")
    assert "were not finite and were left out: 1" in gone_on.stderr
    done(*words, "--out", tmp_path / "direct", "--skip-bad-updates")
    same(tmp_path / "direct", out)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--lr", 0.2), "made with other settings: local.lr is 0.05 there and 0.2 here"),
        (("--clients", 11), "partition.n_clients is 10 there and 11 here"),
        (("--limit", 1000), "images.train.n is 1297 there and 1000 here"),
        (("--net", "mlp"), 'net is "linear" there and "mlp" here'),
        (("--clip", 1), "defences is [] there and"),
        (("--rounds", 5), "selector.beta is 0.05 there and 0.12 here"),
        (("--rounds", 5, "--beta", 0.05), "has 12 rounds, more than the 5 asked for"),
    ],
)  # fmt: skip
def test_other_settings_are_refused(whole: Path, words: tuple[object, ...], said: str) -> None:
    stored = {path.name: path.read_bytes() for path in whole.iterdir() if path.is_file()}
    # fedemd first: the settings of random selection do not depend on the number of rounds
    given = [word for word in WORDS if word not in ("--select", "random", "fedemd")]
    both = ("--select", "fedemd", "--select", "random")
    assert said in refused(*given, *both, *words, "--out", whole, "--resume")
    assert stored == {path.name: path.read_bytes() for path in whole.iterdir() if path.is_file()}


def test_what_would_be_lost_is_named(whole: Path) -> None:
    said = refused("train", *QUICK, "--rounds", 12, "--out", whole, "--resume")
    assert "also has random-seed0, which was not asked for" in said


def test_there_must_be_something_to_go_on_from(tmp_path: Path) -> None:
    said = refused(*WORDS, "--out", tmp_path / "out", "--resume")
    assert said.endswith("has no checkpoint: leave out --resume to begin")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "checkpoints").mkdir()
    (tmp_path / "x" / "checkpoints" / "random-seed0.safetensors").write_text("hello")
    said = refused(*WORDS, "--out", tmp_path / "x", "--resume")
    assert "random-seed0.safetensors: not a checkpoint, or not a whole one" in said


def test_a_finished_run_is_not_overwritten(whole: Path) -> None:
    assert refused(*WORDS, "--out", whole).endswith("is not empty: choose a new folder")


def test_a_folder_of_others_is_not_replaced(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done("train", *QUICK, "--select", "random", "--out", out)
    settings = json.loads((out / "settings.json").read_text())
    (out / "settings.json").write_text(json.dumps({**settings, "format": "of somebody else"}))
    found = run("train", *QUICK, "--select", "random", "--out", out, "--resume")
    assert found.exit_code == 2 and "is not empty" in found.stderr
    assert (out / "results.jsonl").exists()
