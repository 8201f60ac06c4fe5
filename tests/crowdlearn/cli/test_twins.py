"""`crowdlearn twins`, and the other votes that people really have, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from crowdlearn.cli import app
from crowdlearn.io import read_votes, write_csv
from crowdlearn.simulate import colluding, fixed_per_item
from crowdlearn.votes import Votes


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Votes with a ring of four and their truth; soft votes; two batches of hard ones."""
    folder = tmp_path_factory.mktemp("shelf")
    world = colluding(400, 14, 3, n_rings=1, ring_size=4, assign=fixed_per_item(7), seed=2)
    write_csv(world.votes.to_table(), folder / "votes.csv")
    truth = "".join(f"{i},{t}\n" for i, t in enumerate(world.truth))
    (folder / "truth.csv").write_text("task,label\n" + truth)
    for name, half in (("old", np.arange(400) < 200), ("new", np.arange(400) >= 200)):
        write_csv(world.votes.only_items(half).to_table(), folder / f"{name}.csv")
    rows = np.random.default_rng(0).dirichlet(np.ones(3), 60)
    lines = [f"{i // 3},j{i % 3},{a:.6f},{b:.6f},{c:.6f}" for i, (a, b, c) in enumerate(rows)]
    (folder / "soft.csv").write_text("\n".join(["task,worker,p_0,p_1,p_2", *lines]) + "\n")
    return folder


def test_a_ring_is_shown_with_its_effect(shelf: Path) -> None:
    done = run("twins", shelf / "votes.csv", "--truth", shelf / "truth.csv")
    assert done.exit_code == 0, done.output
    assert "4 workers in 1 groups" in done.stdout and "log loss from" in done.stdout
    found = json.loads(run("twins", shelf / "votes.csv", "--json").stdout)
    assert sorted(found["groups"][0]) == ["0", "1", "2", "3"]
    assert sum(pair["twins"] for pair in found["pairs"]) == 6 and len(found["pairs"]) == 91
    assert found["effect"]["n_workers"] == 4 and found["effect"]["log_loss_before"] is None


def test_where_there_are_none_it_says_so(shelf: Path) -> None:
    done = run("twins", shelf / "votes.csv", "--min-common", 300)
    assert done.exit_code == 0 and "No two workers" in done.stdout
    assert run("twins", shelf / "votes.csv", "--rate", 2).exit_code == 2


def test_soft_votes_are_aggregated(shelf: Path) -> None:
    out = shelf / "soft"
    done = run("aggregate", shelf / "soft.csv", "--method", "soft", "--out", out)
    assert done.exit_code == 0, done.output
    assert (out / "report.html").exists()
    done = run("aggregate", shelf / "soft.csv", "--method", "bcc", "--json")
    assert done.exit_code == 0
    assert "bcc reads only the most probable class" in done.stderr


def test_a_history_moves_the_fit(shelf: Path) -> None:
    old = shelf / "old-fit"
    assert run("aggregate", shelf / "old.csv", "--out", old, "-q").exit_code == 0
    plain, later, faint = (
        json.loads(run("aggregate", shelf / "new.csv", "--json", *more).stdout)["expected_error"]
        for more in ((), ("--history", old), ("--history", old, "--discount", 0.01))
    )
    assert later != plain and abs(faint - plain) < abs(later - plain)


def test_history_where_it_has_no_place_is_refused(shelf: Path) -> None:
    old = shelf / "old-fit-2"
    run("aggregate", shelf / "old.csv", "--out", old, "-q")
    for words, complaint in (
        (("--method", "majority", "--history", old), "majority has no prior of its workers"),
        (("--discount", 0.5), "no --history that it could discount"),
        (("--history", old, "--discount", 3), "discount is 3.0"),
        (("--history", shelf), "holds no saved result"),
    ):
        done = run("aggregate", shelf / "new.csv", *words)
        assert done.exit_code == 2 and complaint in done.stderr, done.stderr


def test_ordered_classes_are_named_in_order(shelf: Path) -> None:
    votes = read_votes(shelf / "old.csv")
    named = Votes.from_codes(
        votes.item, votes.worker, votes.label, classes=["bad", "fair", "excellent"]
    )
    write_csv(named.to_table(), shelf / "grades.csv")
    told = run("aggregate", shelf / "grades.csv", "-m", "ordinal", "-q",
               "--classes", "bad,fair,excellent")  # fmt: skip
    assert told.exit_code == 0 and "spelling" not in told.stderr
    assert "spelling" in run("aggregate", shelf / "grades.csv", "-m", "ordinal", "-q").stderr
