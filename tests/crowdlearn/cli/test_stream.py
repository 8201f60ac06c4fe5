"""The stream command: what it prints, what it keeps, and that being killed loses nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from typer.testing import CliRunner

from crowdlearn.cli import app
from crowdlearn.evaluation import error
from crowdlearn.io import read_batches, write_csv
from crowdlearn.online import load_stream, stream
from crowdlearn.simulate import idbla

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Votes in any order, and the truth."""
    world, folder = idbla(300, 8, 3, seed=1), tmp_path_factory.mktemp("votes")
    table = world.votes.to_table()
    order = np.random.default_rng(0).permutation(len(table))
    write_csv(table.take(order), folder / "votes.csv")
    names = [str(n) for n in range(300)]
    lines = [f"{n},{k}" for n, k in zip(names, world.truth.tolist(), strict=True)]
    (folder / "truth.csv").write_text("\n".join(["task,label", *lines]) + "\n")
    return folder


def run(*words: object) -> Any:
    return CliRunner().invoke(app, ["stream", *(str(word) for word in words)])


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_line_a_batch_as_the_library_has_it(folder: Path) -> None:
    words = (folder / "votes.csv", "--truth", folder / "truth.csv", "--batch", 400)
    found = rows(run(*words, "--no-rescore", "--json").stdout)
    method, (classes, parts) = stream("bcc"), read_batches(folder / "votes.csv", 400)
    state, truth = method.init(classes), idbla(300, 8, 3, seed=1).truth
    for row, part in zip(found, parts, strict=True):
        state, _ = method.update(state, part)
        known = truth[[int(name) for name in state.items]]
        assert row["error"] == pytest.approx(error(state.posterior(), known))
        assert row["votes"] == state.n_votes and row["items"] == len(state.items)
        least = state.posterior().max(axis=1)
        assert row["queue"][0]["confidence"] == pytest.approx(least.min())
    assert "error" in run(*words).stdout and "settled together" in run(*words).stdout


def test_an_expert_answers_what_is_least_certain(folder: Path) -> None:
    words = (folder / "votes.csv", "--truth", folder / "truth.csv", "--batch", 400, "--json")
    alone = rows(run(*words).stdout)
    helped = rows(run(*words, "--expert", folder / "truth.csv", "--ask", 20).stdout)
    assert [row["answered"] for row in helped[:-1]] == [
        20 * (n + 1) for n in range(len(helped) - 1)
    ]
    assert helped[-1]["error"] < alone[-1]["error"]


def test_an_expert_who_errs_is_weighed(folder: Path, tmp_path: Path) -> None:
    """Lies taken as certain do harm; of an expert right 40 % of the time, next to none."""
    lines = (folder / "truth.csv").read_text().splitlines()
    lies = [f"{n},{(int(k) + 1) % 3}" for n, k in (line.split(",") for line in lines[1:])]
    (tmp_path / "lies.csv").write_text("\n".join([lines[0], *lies]) + "\n")
    words = (folder / "votes.csv", "--truth", folder / "truth.csv", "--batch", 600, "--json")
    words += ("--expert", tmp_path / "lies.csv", "--ask", 20, "--strategy", "random")
    certain, weighed = rows(run(*words).stdout), rows(run(*words, "--expert-accuracy", 0.4).stdout)
    assert [row["answered"] for row in certain[:-1]] == [row["answered"] for row in weighed[:-1]]
    assert weighed[-1]["error"] < certain[-1]["error"] - 0.05
    for words, match in (
        (("--expert-accuracy", 1), "an expert who never errs gives gold answers"),
        (("--expert-accuracy", 0.9, "-m", "majority"), "majority has no setting 'experts'"),
    ):
        done = run(folder / "votes.csv", *words)
        assert done.exit_code == 2 and match in done.stderr, done.output


def test_an_audit_vouches_for_items_and_teaches_nothing(folder: Path, tmp_path: Path) -> None:
    """One that is wrong throughout lets nothing stop, a right one much; errors are the same."""
    lines = (folder / "truth.csv").read_text().splitlines()[:101]
    (tmp_path / "right.csv").write_text("\n".join(lines) + "\n")
    wrong = [f"{n},{(int(k) + 1) % 3}" for n, k in (line.split(",") for line in lines[1:])]
    (tmp_path / "wrong.csv").write_text("\n".join([lines[0], *wrong]) + "\n")
    words = (folder / "votes.csv", "--truth", folder / "truth.csv", "--batch", 600, "--json")
    plain, right, lies = (
        rows(run(*words, *more).stdout)
        for more in (
            ("--target", 0.2),
            ("--target", 0.2, "--audit", tmp_path / "right.csv"),
            ("--target", 0.2, "--audit", tmp_path / "wrong.csv"),
        )
    )
    assert [row["error"] for row in plain] == [row["error"] for row in right]
    assert right[-2]["done"] > 150 and lies[-2]["done"] == 100
    alone = run(*words, "--audit", tmp_path / "right.csv")
    assert alone.exit_code == 2 and "--audit needs --target" in alone.stderr


COMMAND = "from crowdlearn.cli import main; main()"
KILLED = """
import os, signal
import crowdlearn.cli.stream as command
from crowdlearn.online.vb import StreamingBcc
command.SAVE_EVERY = 0.0
update, count = StreamingBcc.update, [0]
def dying(self, state, votes=None, answers=None):
    count[0] += 1
    if count[0] == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
    return update(self, state, votes, answers)
StreamingBcc.update = dying
from crowdlearn.cli import main
main()
"""


def in_process(code: str, *words: object) -> int:
    command = [sys.executable, "-c", code, "stream", *(str(word) for word in words)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True)
    return done.returncode


@pytest.mark.parametrize("at", [2, 5, 9])
def test_killed_it_goes_on_to_the_same_bits(folder: Path, tmp_path: Path, at: int) -> None:
    """SIGKILL in the middle of a batch, with an expert and rescoring; then the same call again."""
    words = [folder / "votes.csv", "--batch", 200, "--expert", folder / "truth.csv", "--ask", 5]
    assert in_process(COMMAND, *words, "--state", tmp_path / "whole.npz") == 0
    code = in_process(KILLED.format(at=at), *words, "--state", tmp_path / "cut.npz")
    assert code == -signal.SIGKILL
    assert in_process(COMMAND, *words, "--state", tmp_path / "cut.npz") == 0
    method = stream("bcc")
    (whole, about), (cut, again) = (
        load_stream(tmp_path / name, method) for name in ("whole.npz", "cut.npz")
    )
    assert about == again and about["rows"] == whole.n_votes
    assert_array_equal(whole.posterior(), cut.posterior())
    assert_array_equal(whole.counts.live, cut.counts.live)


def test_mistakes_end_in_one_line(folder: Path, tmp_path: Path) -> None:
    votes, kept = folder / "votes.csv", tmp_path / "s.npz"
    strange = tmp_path / "strange.csv"
    strange.write_text("task,label\n1,7\n")
    assert run(votes, "--state", kept).exit_code == 0
    before = kept.read_bytes()
    for words, found in (
        ((votes, "--state", kept, "-m", "idbla"), "is a stream of bcc, not of idbla"),
        ((votes, "--state", kept, "--set", "diagonal=3"), "begun with diagonal=2.0, not 3.0"),
        ((votes, "--state", kept, "--classes", "0,1,2,3"), "has the classes 0, 1, 2, not 0, 1, 2"),
        ((votes, "-m", "ebcc"), "'ebcc' is not one of"),
        ((votes, "--strategy", "luck"), "--strategy luck: choose from random"),
        ((votes, "--set", "forget=2"), "forget must be above 0"),
        ((votes, "--expert", strange), "strange.csv, row 2, column 'label': '7' is not one"),
    ):
        done = run(*words)
        assert done.exit_code == 2 and found in done.stderr
    assert kept.read_bytes() == before


def test_a_folder_keeps_the_stream_too_and_strangers_are_named(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "strange.csv").write_text("task,label\nnobody,1\n3,0\n")
    words = (folder / "votes.csv", "--batch", 600, "--expert", tmp_path / "strange.csv")
    done = run(*words, "--state", f"{tmp_path}/kept/")
    assert done.exit_code == 0 and "1 items had no votes, the first 'nobody'" in done.stderr
    state, about = load_stream(tmp_path / "kept" / "stream.npz", stream("bcc"))
    assert about["rows"] == state.n_votes
    assert "batch" not in run(*words, "--state", tmp_path / "kept").stdout
