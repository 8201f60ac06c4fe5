"""Actors give what one process gives, also when they are killed on the way."""

import gc
import os
import signal

import numpy as np
import pytest

from crowdlearn.aggregators import aggregator
from crowdlearn.errors import SettingsError, VotesError
from crowdlearn.shards import crews, noted, open_votes
from tests.crowdlearn.shards.test_noted import Crash, crash_at
from tests.crowdlearn.sweeps.test_cut import agree
from tests.crowdlearn.sweeps.test_sharded import rows

ray = pytest.importorskip("ray")
ray_crew = pytest.importorskip("crowdlearn.shards.ray_crew")
the_cluster = pytest.importorskip("crowdlearn.shards.cluster")
pytestmark = [
    pytest.mark.slow,
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


@pytest.mark.parametrize(
    ("name", "n"), [("dawid-skene", 2), ("one-coin", 4), ("bcc", 1), ("ebcc", 2), ("idbla", 2)]
)
def test_actors_with_cut_tables_give_what_one_process_gives(world, name, n):
    few = FEW | ({"n_restarts": 2, "n_subtypes": 2} if name == "ebcc" else {})
    votes = open_votes(world.folder, n_actors=n, worker_blocks=5)
    there = aggregator(name, device="ray", **few).fit(votes)
    agree(there, aggregator(name, **few).fit(open_votes(world.folder)))


@pytest.mark.parametrize("at", ["is made", "is done"])
def test_actors_with_cut_tables_that_are_killed_come_back(world, monkeypatch, at):
    """Between two sweeps, and between the counts of two blocks."""
    here = aggregator("idbla", **FEW).fit(open_votes(world.folder))
    killed = []

    def kill(crew):
        pid = crew.actors[len(killed) % 2].__ray_call__.remote(lambda self: os.getpid())
        killed.append(ray.get(pid))
        os.kill(killed[-1], signal.SIGKILL)

    def on_sweep(sweep):
        if at == "is done" and sweep.number in (2, 5):
            kill(next(c for c in crews._crews.values() if hasattr(c, "actors")))

    asked = []
    true = ray_crew.RayCrew._counts_asked

    def ask(self, block, *rest):
        asked.append(block)
        if at == "is made" and len(asked) in (13, 32):
            kill(self)
        return true(self, block, *rest)

    monkeypatch.setattr(ray_crew.RayCrew, "_counts_asked", ask)
    votes = open_votes(world.folder, n_actors=2, worker_blocks=5)
    agree(aggregator("idbla", device="ray", **FEW).fit(votes, on_sweep=on_sweep), here)
    assert len(set(killed)) == 2


def test_a_checkpoint_of_cut_tables_is_gone_on_from(world, tmp_path, monkeypatch):
    def votes(**how):
        return open_votes(world.folder, checkpoint=tmp_path / "n", worker_blocks=5, **how)

    here = aggregator("bcc", **FEW).fit(open_votes(world.folder))
    with pytest.raises(Crash):
        aggregator("bcc", device="ray", **FEW).fit(
            votes(n_actors=2), on_sweep=crash_at(4, monkeypatch)
        )
    monkeypatch.setattr(noted, "SECONDS", 1e9)
    agree(aggregator("bcc", device="ray", **FEW).fit(votes(n_actors=2)), here)


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
    monkeypatch.setattr(the_cluster, "RUNTIME", 1 << 50)
    with pytest.raises(VotesError, match="an actor needs up to .* the cluster has"):
        aggregator("bcc", device="ray").fit(open_votes(world.folder, n_actors=2))
