"""The pipeline command against the library, on real digits with a simulated crowd."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from typer.testing import CliRunner

from crowdlearn.cli import app
from crowdlearn.io import write_csv
from crowdlearn.learning import Expert, NoisyCrowdPipeline
from crowdlearn.simulate import bila_bimodal

N, N_TEST = 300, 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Votes, truth and features of 300 digits; 200 others to test on."""
    made, data = tmp_path_factory.mktemp("digits"), load_digits()
    world = bila_bimodal(N, 8, 10, noise=0.4, truth=data.target[:N], seed=1)
    write_csv(world.votes.to_table(), made / "votes.csv")
    lines = [f"{i},{k}" for i, k in enumerate(data.target[:N])]
    (made / "truth.csv").write_text("\n".join(["task,label", *lines]) + "\n")
    rest = slice(N, N + N_TEST)
    np.savez(made / "f.npz", features=data.data[:N], test_features=data.data[rest],
             test_labels=data.target[rest])  # fmt: skip
    return made


def run(folder: Path, *words: object) -> Any:
    files = ["--votes", folder / "votes.csv", "--features", folder / "f.npz"]
    return CliRunner().invoke(app, ["pipeline", *(str(word) for word in [*files, *words])])


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_line_a_chunk_and_labels_on_disk(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    done = run(folder, "--truth", folder / "truth.csv", "--out", out, "--json")
    assert done.exit_code == 0, done.output
    found = rows(done.stdout)
    assert [row["items"] for row in found] == [100, 200, 300, 300]  # the last: all settled anew
    assert [row["asked"] for row in found] == [10, 20, 30, 30]
    with out.open() as file:
        table = list(csv.DictReader(file))
    assert len(table) == N and sum(row["source"] == "expert" for row in table) == 30
    truth = load_digits().target
    wrong = np.mean([int(row["label"]) != truth[int(row["task"])] for row in table])
    assert wrong == pytest.approx(found[-1]["label_error"])
    assert found[-1]["test_accuracy"] > 0.8
    plain = rows(run(folder, "--truth", folder / "truth.csv", "--budget", 0, "--json").stdout)
    assert wrong < plain[-1]["label_error"]
    assert "label error" in run(folder, "--truth", folder / "truth.csv").stdout


def test_the_same_as_the_library(folder: Path) -> None:
    from crowdlearn.io import read_labels, read_votes
    from crowdlearn.learning.files import read_features
    from crowdlearn.learning.running import chunks, label_error_of

    votes = read_votes(folder / "votes.csv")
    truths = read_labels(folder / "truth.csv", votes.classes)
    method, expert = NoisyCrowdPipeline(), Expert(truths)
    state = method.init(votes.classes)
    for part, features in chunks(votes, read_features(folder / "f.npz"), 100):
        state, _ = method.step(state, part, features, expert)
    state = method.finish(state)
    found = rows(run(folder, "--truth", folder / "truth.csv", "--json").stdout)[-1]
    assert found["label_error"] == label_error_of(state, votes.classes, truths)
    assert expert.n_calls == found["asked"]


def test_an_expert_who_errs_and_copies_that_wait(folder: Path) -> None:
    words = ("--truth", folder / "truth.csv", "--budget", 0.2, "--json")
    sure = rows(run(folder, *words).stdout)[-1]
    doubted = rows(run(folder, *words, "--expert-accuracy", 0.6).stdout)[-1]
    frozen = rows(run(folder, *words, "--no-resettle", "--alike-within", 20).stdout)
    assert sure["label_error"] < doubted["label_error"] and doubted["asked"] == 60
    assert [row["asked"] for row in frozen] == [20, 40, 60]


def test_without_an_expert_it_says_whom_to_ask(folder: Path) -> None:
    last = rows(run(folder, "--json", "--budget", 0.05).stdout)[-1]
    assert len(last["ask"]) == 15
    assert "ask an expert about 15 items" in run(folder, "--budget", 0.05).stdout


def test_mistakes_end_in_one_line(folder: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.npz"
    np.savez(short, features=np.zeros((5, 2)))
    for words, match in (
        (("--classifier", "swm"), "'swm' is not one of"),
        (("--strategy", "luck"), "'luck' is not one of"),
        (("--features", short), "has no row of features"),
        (("--features", tmp_path / "none.npz"), "none.npz: no .npz file"),
        (("--method", "ebcc"), "'ebcc' is not one of"),
        (("--alike-within", 0), "alike_within must be above 0"),
    ):
        done = run(folder, *words)
        assert done.exit_code == 2 and match in done.stderr, done.output
