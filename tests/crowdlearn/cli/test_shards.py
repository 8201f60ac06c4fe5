"""`crowdlearn shards`: what it writes is what the library gives, and bad input is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from typer.testing import CliRunner, Result

from crowdlearn.aggregators import aggregator
from crowdlearn.cli import app
from crowdlearn.io import read_votes
from tests.crowdlearn.shards.conftest import World, world  # noqa: F401


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_files_become_a_result(world: World, tmp_path: Path) -> None:  # noqa: F811
    coded, out = tmp_path / "coded", tmp_path / "result"
    done = run("shards", "code", *world.files, "--out", coded, "--buckets", 4, "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["n_votes"], said["n_items"], said["n_buckets"]) == (
        world.votes.n_votes, world.votes.n_items, 4,
    )  # fmt: skip
    words = ("--method", "dawid-skene", "--memory", "1KB", "--checkpoint", tmp_path / "notes")
    done = run("shards", "fit", coded, *words, "--out", out, "--json")
    assert done.exit_code == 0, done.output
    here = aggregator("dawid-skene").fit(read_votes([str(f) for f in world.files]))
    assert json.loads(done.stdout)["n_sweeps"] == here.history.n_sweeps
    table = pq.read_table(out / "posterior").sort_by("task")
    mine = here.to_table().sort_by("task")
    np.testing.assert_allclose(table["p_c1"], mine["p_c1"], atol=1e-9)
    assert table["n_votes"].to_pylist() == mine["n_votes"].to_pylist()


def test_bad_input_is_one_line(world: World, tmp_path: Path) -> None:  # noqa: F811
    for words, said in (
        (("fit", world.folder, "--method", "glad"), "none that fits coded votes: choose from"),
        (("fit", world.folder, "--memory", "4XB"), "memory '4XB': give an amount as 4GB"),
        (("fit", tmp_path), "holds no coded votes"),
        (("fit", world.folder, "--device", "gpu"), "coded votes are fitted on auto, cpu, ray"),
        (("code", tmp_path / "gone.parquet"), "there is no such file"),
        (("code", world.files[0], "--buckets", 0), "n_buckets = 0: give 1 to"),
    ):
        done = run("shards", *words, "--out", tmp_path / "out")
        assert done.exit_code == 2 and said in done.stderr, (words, done.output)
        assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "out").exists()
