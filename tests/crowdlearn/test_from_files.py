"""One call gives what reading and fitting give, whether or not the votes are coded."""

import gc

import numpy as np
import pytest

import crowdlearn
from crowdlearn.aggregators import aggregator
from crowdlearn.errors import SettingsError
from crowdlearn.from_files import on_device
from crowdlearn.io import read_votes
from tests.crowdlearn.shards.conftest import world  # noqa: F401
from tests.crowdlearn.sweeps.test_sharded import rows

pytestmark = pytest.mark.filterwarnings("ignore::crowdlearn.errors.ConvergenceWarning")


def test_one_call_is_reading_and_fitting(world):  # noqa: F811
    files = [str(file) for file in world.files]
    here = aggregator("dawid-skene", max_sweeps=5).fit(read_votes(files))
    fit = crowdlearn.aggregate(files, aggregator("dawid-skene", max_sweeps=5))
    assert np.array_equal(fit.posterior, here.posterior)
    assert crowdlearn.aggregate(files, "majority").method == "majority"


def test_with_little_memory_it_is_the_same_and_leaves_nothing(
    world, tmp_path, monkeypatch,  # noqa: F811
):  # fmt: skip
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    files, told = [str(file) for file in world.files], []
    method = aggregator("bcc", max_sweeps=5)
    fit = crowdlearn.aggregate(files, method, memory="1KB", progress=told.append)
    here = method.fit(read_votes(files))
    np.testing.assert_allclose(rows(fit), rows(here), atol=1e-9)
    assert fit.votes.memory == 1000 and told[-1].name == "gather"
    fit.save(tmp_path / "result")
    del fit
    gc.collect()
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_coded_votes_are_used_again(world, tmp_path):  # noqa: F811
    files = [str(file) for file in world.files]
    told: list[object] = []
    for _ in range(2):
        fit = crowdlearn.aggregate(
            files, aggregator("bcc", max_sweeps=3), coded=tmp_path / "c", progress=told.append
        )
    assert fit.votes.folder == str(tmp_path / "c")
    assert len([step for step in told if step.name == "survey"]) == 4


def test_methods_without_coded_votes_and_devices_are_refused_before_any_work(tmp_path):
    for words, said in (
        ({"method": "glad", "memory": "4GB"}, "glad: is none that fits coded votes"),
        ({"method": aggregator("bcc", device="ray"), "memory": 1}, "memory: is what one machine"),
        ({"device": "gpu", "coded": "x"}, "device 'gpu': coded votes are fitted on"),
        ({"memory": "4XB"}, "give an amount"),
    ):
        with pytest.raises(SettingsError, match=said):
            crowdlearn.aggregate(str(tmp_path / "gone.parquet"), **words)


def test_a_device_is_a_setting_of_those_that_have_it():
    assert on_device(aggregator("bcc"), "cpu").device == "cpu"
    majority = aggregator("majority")
    assert on_device(majority, "auto") is majority
    with pytest.raises(SettingsError, match="majority has no setting 'device'"):
        on_device(majority, "gpu")
