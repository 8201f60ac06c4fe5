"""Actors give what one process gives, also when they are killed on the way."""

import gc
import os
import signal

import numpy as np
import pytest

from crowdlearn.aggregators import aggregator
from crowdlearn.errors import SettingsError, VotesError
from crowdlearn.shards import crews, open_votes
from tests.crowdlearn.sweeps.test_sharded import rows

ray = pytest.importorskip("ray")
ray_crew = pytest.importorskip("crowdlearn.shards.ray_crew")
pytestmark = [
    pytest.mark.filterwarnings("ignore::crowdlearn.errors.ConvergenceWarning"),
    # Ray leaves files of its own open
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def cluster():
    ray.init(
        num_cpus=4, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20
    )
    yield
    gc.collect()
    ray.shutdown()


FEW = {"max_sweeps": 6}
DRAWS = {"n_warmup": 1, "n_draws": 5, "n_chains": 2}


@pytest.mark.parametrize(
    ("name", "n", "small"), [("dawid-skene", 4, FEW), ("idbla", 2, FEW), ("bcc-gibbs", 3, DRAWS)]
)
def test_actors_give_what_one_process_gives(world, name, n, small):
    there = aggregator(name, device="ray", **small).fit(open_votes(world.folder, n_actors=n))
    here = aggregator(name, **small).fit(open_votes(world.folder))
    np.testing.assert_allclose(rows(there), rows(here), atol=1e-9)
    np.testing.assert_allclose(there.history.bound, here.history.bound, rtol=1e-9)


@pytest.mark.parametrize("name", ["dawid-skene", "idbla"])
def test_actors_that_are_killed_come_back_and_nothing_is_lost(world, tmp_path, name):
    here = aggregator(name, **FEW).fit(open_votes(world.folder))
    killed = []

    def kill(sweep):
        if sweep.number in (2, 5):
            crew = next(c for c in crews._crews.values() if hasattr(c, "actors"))
            at = crew.actors[sweep.number % 2].__ray_call__.remote(lambda self: os.getpid())
            killed.append(ray.get(at))
            os.kill(killed[-1], signal.SIGKILL)

    votes = open_votes(world.folder, n_actors=2)
    there = aggregator(name, device="ray", **FEW).fit(votes, on_sweep=kill)
    assert len(set(killed)) == 2
    np.testing.assert_allclose(rows(there), rows(here), atol=1e-9)
    there.save(tmp_path / "out")
    assert len(list((tmp_path / "out" / "posterior").iterdir())) == votes.n_buckets


def test_large_counts_are_added_on_the_cluster(world, monkeypatch):
    monkeypatch.setattr(ray_crew, "TREE", 1)
    there = aggregator("bcc", device="ray", **FEW).fit(open_votes(world.folder, n_actors=3))
    here = aggregator("bcc", **FEW).fit(open_votes(world.folder))
    np.testing.assert_allclose(rows(there), rows(here), atol=1e-9)


def test_errors_of_actors_are_ours_and_what_cannot_be_is_said_before(world, monkeypatch):
    with pytest.raises(SettingsError, match="5 actors of 1 threads: the cluster has 4 cores"):
        aggregator("bcc", device="ray").fit(open_votes(world.folder, n_actors=5))
    monkeypatch.setattr(ray_crew, "RUNTIME", 1 << 50)
    with pytest.raises(VotesError, match="an actor needs up to .* the cluster has"):
        aggregator("bcc", device="ray").fit(open_votes(world.folder, n_actors=2))
