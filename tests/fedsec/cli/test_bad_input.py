"""What cannot be is said in one line with exit code 2, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.fedsec.cli.commands import QUICK, refused, run

TRAIN = [
    ("--data nope", "no image set 'nope': choose from digits, mnist"),
    ("--select luck", "--select 'luck' is not one of random, fedemd"),
    ("--net big", "--net 'big' is not one of linear, mlp"),
    ("--partition odd", "--partition 'odd' is not one of mavericks, iid"),
    ("--algorithm odd", "--algorithm 'odd' is not one of fedavg, fedsgd"),
    ("--schedule odd", "--schedule 'odd' is not one of per-client, global, none"),
    ("--weighting odd", "--weighting 'odd' is not one of samples, uniform"),
    ("--device odd", "--device 'odd' is not one of auto, cpu, cuda"),
    ("--contribution odd", "contribution method 'odd' is not one of exact"),
    ("--maverick-class 12", "Maverick class '12' does not exist: give 0 to 9"),
    ("--maverick-class cat", "Maverick class 'cat' does not exist"),
    ("--maverick-class 1 --maverick-class 1", "class 1 is named twice"),
    ("--maverick-class 1 --mavericks 2", "was given 1 times, for 2"),
    ("--mavericks 0", "--mavericks is 0: give at least 1"),
    ("--mavericks 11 --clients 20", "--mavericks is 11, and there are 10 classes"),
    ("--mavericks 10 --shared", "10 Mavericks of 10 clients leave nobody"),
    ("--clients 1400", "1400 clients cannot share 1297 samples"),
    ("--clients 0", "n_clients = 0: give at least 1"),
    ("--limit 20 --clients 30", "30 clients cannot share 20 samples"),
    ("--per-round 11", "11 clients a round of 10: choose 1 to 10"),
    ("--per-round 0", "0 clients a round of 10"),
    ("--partition dirichlet --partition-alpha 0.001 --clients 300",
     "none of 1000 draws gave each of 300 clients 1 or more"),
    ("--partition shards --shards-per-client 200", "10 clients with 200 shards each need 2000"),
    ("--limit 0", "--limit is 0: there are 1297 training images"),
    ("--test-limit 501", "--test-limit is 501: there are 500 test images"),
    ("--hold-out 1297 --contribution exact", "no image is left for the clients"),
    ("--rounds 0", "--rounds is 0: give at least 1"),
    ("--seeds 0", "--seeds is 0: give at least 1"),
    ("--seed -1", "--seed is -1: give at least 0"),
    ("--evaluate-every 0", "--evaluate-every is 0: give at least 1"),
    ("--lr 0", "lr = 0.0: give a learning rate above 0"),
    ("--lr nan", "lr = nan: give a learning rate above 0"),
    ("--batch 0", "batch = 0: give at least 1"),
    ("--momentum -1", "momentum = -1.0: give at least 0"),
    ("--lr-step 0", "--lr-step is 0"),
    ("--lr-gamma nan", "--lr-gamma nan"),
    ("--alpha -1", "alpha must be a number, at least 0"),
    ("--set x=1", "--set x: no such setting of fedemd: there are distance, norm"),
    ("--set x", "--set 'x': write NAME=VALUE"),
    ("--select oort --set window=wide", "'wide' is not a number"),
    ("--select power-of-choice --set n_candidates=2", "n_candidates is 2"),
    ("--clip 0", "clip: norm 0.0 is not a positive number"),
    ("--clip 1 --noise -1", "noise: multiplier -1.0 is not a number >= 0"),
    ("--top-k 2", "top-k: share 2.0 is not in (0, 1]"),
    ("--bits 1", "quantise: 1 bits; between 2 and 16"),
    ("--net mlp --lr 1e30", ", round 1: "),
    # What would change nothing is refused, too.
    ("--partition iid --mavericks 1", "--mavericks has no effect here"),
    ("--partition iid --shared", "--shared has no effect here"),
    ("--partition iid --maverick-class 1", "--maverick-class has no effect here"),
    ("--partition iid --select never", "--select never is about Mavericks"),
    ("--partition-alpha 1", "--partition-alpha has no effect here"),
    ("--shards-per-client 2", "--shards-per-client has no effect here"),
    ("--hold-out 10", "--hold-out has no effect here"),
    ("--select random --alpha 1", "--alpha has no effect here"),
    ("--select random --beta 1", "--beta has no effect here"),
    ("--noise 1", "--noise has no effect here: it goes with --clip"),
    ("--clip 1 --delta 1e-5", "--delta has no effect here: it goes with --noise"),
    ("--schedule none --lr-step 2", "--lr-step has no effect here"),
    ("--resume", "--resume has no effect here: it goes with --out"),
]  # fmt: skip
FEDSGD = [
    ("--prox 1", "--prox has no effect here: it goes with --algorithm fedavg"),
    ("--epochs 2", "--epochs has no effect here"),
    ("--schedule per-client", "--schedule per-client has no effect here"),
    ("--select shapley-weighted", "is measured on what local training changed"),
    ("--contribution exact", "is measured on what local training changed"),
]


@pytest.mark.parametrize(("words", "said"), TRAIN, ids=[words for words, _ in TRAIN])
def test_train_refuses(words: str, said: str, tmp_path: Path) -> None:
    given = list(QUICK)
    for word in words.split():  # what the case sets is not set twice
        if word in given and word.startswith("--"):
            place = given.index(word)
            del given[place : place + 2]
    out = [] if words == "--resume" else ["--out", tmp_path / "a" / "b"]
    assert said in refused("train", *given, *words.split(), *out)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("words", "said"), FEDSGD, ids=[words for words, _ in FEDSGD])
def test_fedsgd_refuses_what_is_for_fedavg(words: str, said: str) -> None:
    assert said in refused("train", "--algorithm", "fedsgd", *words.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--method odd", "contribution method 'odd' is not one of exact"),
        ("--over-rounds odd", "--over-rounds 'odd' is not one of fedsv"),
        ("--algorithm fedsgd", "is measured on what local training changed"),
        ("--per-round 12 --clients 20 --rounds 1", "12 players have 4096 coalitions"),
        ("--over-rounds comfedsv --clients 11 --rounds 1 --per-round 3", "11 clients have 2048"),
        ("--seeds 0", "--seeds is 0"),
        ("--data nope", "no image set 'nope'"),
    ],
)
def test_contribution_refuses(words: str, said: str, tmp_path: Path) -> None:
    line = refused("contribution", "--net", "linear", *words.split(), "--out", tmp_path / "out")
    assert said in line
    assert list(tmp_path.iterdir()) == []


def test_an_update_that_is_not_finite_names_client_and_round(tmp_path: Path) -> None:
    words = ("train", *QUICK, "--net", "mlp", "--lr", 1e30)
    said = refused(*words, "--out", tmp_path / "out")
    assert said.startswith("client ") and ", round 1: " in said and "not finite" in said
    assert said.endswith("--skip-bad-updates leaves such an update out")
    gone_on = run(*words, "--skip-bad-updates")
    assert gone_on.exit_code == 0
    assert "updates that were not finite and were left out: 12" in gone_on.stderr


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    cut, odd, none = (tmp_path / f"{name}.npz" for name in ("cut", "odd", "none"))
    np.savez(odd, x_train=np.zeros((3, 8, 8), np.uint8))
    cut.write_bytes(odd.read_bytes()[:100])
    for path, said in (
        (cut, "not an .npz file, or not a whole one"),
        (odd, "has no array 'y_train'"),
        (none, "there is no such file"),
    ):
        for words in (("train", "--data"), ("contribution", "--data"), ("data", "show")):
            line = refused(*words, path)
            assert str(path) in line and said in line


def test_a_gpu_that_is_not_there() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert "torch finds no GPU here" in refused("train", "--device", "cuda")


@pytest.mark.parametrize("command", ["train", "contribution"])
def test_a_folder_that_is_in_use_is_left_alone(command: str, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    said = refused(command, *QUICK, "--out", tmp_path)
    assert said == f"{tmp_path}: is not empty: choose a new folder"
    said = refused(command, *QUICK, "--out", tmp_path / "mine.txt")
    assert said == f"{tmp_path / 'mine.txt'}: is a file: choose a new folder"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_place_that_cannot_be_written_is_refused_before_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("trained")

    monkeypatch.setattr("fedsec.federated.simulate.play", never)
    assert refused("train", *QUICK, "--out", "/proc/out").startswith("/proc/out: was not written")


def test_messages_hold_no_control_characters() -> None:
    assert "\x1b" not in refused("train", "--data", "\x1b[31mred")
