"""Files that are coded by tasks of a cluster give the folder that one process gives."""

import json
import os
import signal
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import crowdlearn
from crowdlearn.aggregators import aggregator
from crowdlearn.cli import app
from crowdlearn.errors import VotesError
from crowdlearn.shards import code_votes, open_votes
from crowdlearn.shards.each import once
from tests.crowdlearn.shards.on_ray import MARKS, cluster_of
from tests.crowdlearn.sweeps.test_sharded import rows

ray_each = pytest.importorskip("crowdlearn.shards.ray_each")
pytestmark = MARKS
cluster = cluster_of(2)


def contents(folder):
    """Every file of a folder, by its path."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*") if file.is_file()
    }  # fmt: skip


def test_a_cluster_codes_the_same_folder_byte_for_byte(world, tmp_path):
    told = []
    code_votes(
        [str(file) for file in world.files], tmp_path / "coded", n_buckets=8, device="ray",
        progress=told.append,
    )  # fmt: skip
    assert contents(tmp_path / "coded") == contents(world.folder)
    assert [step.done for step in told if step.name == "gather"] == list(range(9))


def test_results_come_in_order_and_few_are_under_way(tmp_path):
    def slow_first(k, folder):
        open(f"{folder}/{k}", "w").close()
        time.sleep(0.5 if k == 0 else 0.0)
        return k

    results = ray_each.on_ray("ray")(slow_first, [(k, str(tmp_path)) for k in range(12)])
    assert next(results) == 0
    assert len(list(tmp_path.iterdir())) <= 2 * ray_each.FOR_EACH_CORE
    assert list(results) == list(range(1, 12))


def test_a_task_whose_process_is_killed_is_done_again(tmp_path):
    def dies_once(folder, into):
        with once(into) as out:
            (out / "whole").touch()
            if not os.path.exists(f"{folder}/died"):
                open(f"{folder}/died", "w").close()
                os.kill(os.getpid(), signal.SIGKILL)
        return into

    into = str(tmp_path / "into")
    assert list(ray_each.on_ray("ray")(dies_once, [(str(tmp_path), into)])) == [into]
    assert (tmp_path / "died").exists() and os.listdir(into) == ["whole"]


def test_errors_of_tasks_are_ours_and_nothing_is_left(world, tmp_path):
    bad = tmp_path / "bad.parquet"
    pq.write_table(pq.read_table(world.files[0]).drop_columns(["worker"]), bad)
    with pytest.raises(VotesError, match="bad.parquet: no column 'worker' or 'annotator'"):
        code_votes([str(world.files[0]), str(bad)], tmp_path / "coded", device="ray")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.parquet"]


def test_one_call_and_one_command_from_files_to_result(world, tmp_path):
    files = [str(file) for file in world.files]
    few = aggregator("bcc", max_sweeps=5)
    here = few.fit(open_votes(world.folder))
    there = crowdlearn.aggregate(files, few, device="auto")  # this process belongs to a cluster
    assert there.settings["device"] == "ray"
    np.testing.assert_allclose(rows(there), rows(here), atol=1e-9)
    del there
    words = ("aggregate", *files, "--device", "ray", "--max-sweeps", "5", "--json")
    done = CliRunner().invoke(app, [*words, "--actors", "2", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["settings"]["device"] == "ray"
    table = pq.read_table(tmp_path / "out" / "posterior").sort_by("task")
    order = np.argsort(here.to_table()["task"].to_pylist())
    np.testing.assert_allclose(table["p_c1"], here.to_table()["p_c1"].to_numpy()[order], atol=1e-9)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
