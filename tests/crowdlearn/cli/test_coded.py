"""`crowdlearn aggregate` on votes larger than memory: one command from files to result."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from crowdlearn.aggregators import aggregator
from crowdlearn.cli import app
from crowdlearn.io import read_votes
from crowdlearn.shards import noted
from tests.crowdlearn.shards.conftest import World, world  # noqa: F401


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["aggregate", *(str(word) for word in words)])


def test_files_become_a_result_and_nothing_else_is_left(
    world: World, tmp_path: Path,  # noqa: F811
) -> None:  # fmt: skip
    gold = tmp_path / "gold.csv"
    names = world.votes.items[:3].to_pylist()
    gold.write_text("task,label\n" + "".join(f"{name},c1\n" for name in names))
    out = tmp_path / "new" / "result"
    words = ("--method", "dawid-skene", "--memory", "1KB", "--gold", gold)
    done = run(*world.files, *words, "--out", out, "--json")
    assert done.exit_code == 0, done.output
    votes = read_votes([str(file) for file in world.files])
    here = aggregator("dawid-skene").fit(votes, gold=dict.fromkeys(names, "c1"))
    said = json.loads(done.stdout)
    assert (said["n_sweeps"], said["n_gold"]) == (here.history.n_sweeps, 3)
    table = pq.read_table(out / "posterior").sort_by("task")
    np.testing.assert_allclose(table["p_c1"], here.to_table().sort_by("task")["p_c1"], atol=1e-9)
    assert [path.name for path in out.parent.iterdir()] == ["result"]


def test_coded_votes_are_used_again_and_it_is_said(
    world: World, tmp_path: Path,  # noqa: F811
) -> None:  # fmt: skip
    words = (*world.files, "--max-sweeps", 3, "--coded", tmp_path / "coded")
    assert run(*words, "--out", tmp_path / "one").exit_code == 0
    done = run(*words, "--out", tmp_path / "two")
    assert done.exit_code == 0 and "coded: coded before of the same votes: used" in done.stderr
    assert "bcc: 3 sweeps, not converged" in done.stdout
    done = run(*words[1:], "--out", tmp_path / "three")
    assert done.exit_code == 2 and "part-0.parquet was among them" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["coded", "one", "two"]


def test_a_crashed_command_goes_on_from_its_checkpoint(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,  # noqa: F811
) -> None:  # fmt: skip
    words = (*world.files, "--checkpoint", tmp_path / "notes", "--out", tmp_path / "out")
    monkeypatch.setattr(noted, "SECONDS", 0.0)
    monkeypatch.setattr("crowdlearn.shards.result.ShardedAggregation.save", _crash)
    assert run(*words).exit_code == 1
    monkeypatch.undo()
    done: list[str] = []
    true = noted.NotedCrew._remember
    monkeypatch.setattr(
        noted.NotedCrew, "_remember",
        lambda self, digest, *rest: (done.append(digest[0]), true(self, digest, *rest)),
    )  # fmt: skip
    again = run(*words)
    assert again.exit_code == 0 and "used again" in again.stderr
    assert "product" not in done and (tmp_path / "out" / "summary.json").exists()


def _crash(*_: object) -> None:
    raise RuntimeError


def test_what_does_not_go_together_is_one_line_before_any_work(
    world: World, tmp_path: Path,  # noqa: F811
) -> None:  # fmt: skip
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").touch()
    out, gone = ("--out", tmp_path / "out"), tmp_path / "gone.parquet"
    for words, said in (
        ((gone, *out, "--device", "ray", "-m", "glad"), "method glad: is none that fits coded"),
        ((gone, *out, "--memory", "1GB", "--story", "x"), "method bayes: is none that fits coded"),
        ((gone, *out, "--memory", "1GB", "--truth", "t.csv"), "--truth: is for votes in memory"),
        ((gone, *out, "--coded", "c", "--history", "r"), "--history: is for votes in memory"),
        ((gone, *out, "--memory", "1GB", "--device", "ray"), "memory: is what one machine may"),
        ((gone, *out, "--memory", "1GB", "--device", "gpu"), "device 'gpu': coded votes are"),
        ((gone, *out, "--actors", 2), "actors: are for device 'ray'"),
        ((gone, "--memory", "1GB"), "--out: results of coded votes are written, not shown"),
        ((gone, "--memory", "1GB", "--out", full), "holds other files, which are not overwritten"),
        ((gone, "--memory", "1GB", "--out", "s3://b/r"), "s3://b/r: is a URL: write to a folder"),
        (("-", *out, "--memory", "1GB"), "standard input: can be read only once"),
        ((gone, *out, "--memory", "1GB"), "there is no such file"),
    ):
        done = run(*words)
        assert done.exit_code == 2 and said in done.stderr, (words, done.output)
        assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["full"]
