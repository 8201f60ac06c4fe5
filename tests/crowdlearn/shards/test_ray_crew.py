"""Actors give what one process gives, also when they are killed on the way."""

import shutil
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from crowdlearn.aggregators import aggregator
from crowdlearn.errors import ClusterError, SettingsError, VotesError
from crowdlearn.shards import code_votes, crews, noted, open_votes
from tests.crowdlearn.shards.conftest import CLASSES, write_parts
from tests.crowdlearn.shards.on_ray import MARKS, cluster_of, kill, nodes, ray
from tests.crowdlearn.shards.test_noted import Crash, crash_at
from tests.crowdlearn.sweeps.test_cut import agree
from tests.crowdlearn.sweeps.test_sharded import rows

ray_crew = pytest.importorskip("crowdlearn.shards.ray_crew")
ray_tables = pytest.importorskip("crowdlearn.shards.ray_tables")
the_cluster = pytest.importorskip("crowdlearn.shards.cluster")
pytestmark = MARKS
cluster = cluster_of(4)


FEW = {"max_sweeps": 6}
DRAWS = {"n_warmup": 1, "n_draws": 5, "n_chains": 2}


def the_crew():
    return next(c for c in crews._crews.values() if hasattr(c, "actors"))


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

    def on_sweep(sweep):
        if at == "is done" and sweep.number in (2, 5):
            killed.append(kill(the_crew().actors[len(killed) % 2]))

    asked = []
    true = ray_tables.counts_asked

    def ask(crew, block, counts):
        asked.append(block)
        if at == "is made" and len(asked) in (13, 32):
            killed.append(kill(crew.actors[len(killed) % 2]))
        return true(crew, block, counts)

    monkeypatch.setattr(ray_tables, "counts_asked", ask)
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


@pytest.mark.parametrize(
    ("name", "least"), [("dawid-skene", None), ("dawid-skene", 1), ("idbla", 1)]
)
def test_actors_that_are_killed_come_back_and_nothing_is_lost(
    world, tmp_path, monkeypatch, name, least
):
    """Also where they share memory with this process."""
    if least is not None:
        monkeypatch.setattr(ray_crew, "LARGE", least)
    here = aggregator(name, **FEW).fit(open_votes(world.folder))
    killed = []

    def on_sweep(sweep):
        if sweep.number in (2, 5):
            assert the_crew().near == [least is not None] * 2
            killed.append(kill(the_crew().actors[sweep.number % 2]))

    votes = open_votes(world.folder, n_actors=2)
    there = aggregator(name, device="ray", **FEW).fit(votes, on_sweep=on_sweep)
    assert len(set(killed)) == 2
    np.testing.assert_allclose(rows(there), rows(here), atol=1e-9)
    there.save(tmp_path / "out")
    assert len(list((tmp_path / "out" / "posterior").iterdir())) == votes.n_buckets


def test_an_actor_lost_after_a_note_reads_it_and_nothing_earlier_is_kept(
    world, tmp_path, monkeypatch
):
    monkeypatch.setattr(noted, "SECONDS", 0.0)
    here = aggregator("idbla", **FEW).fit(open_votes(world.folder))
    killed, kept = [], []

    def on_sweep(sweep):
        crew = next(c.crew for c in crews._crews.values() if hasattr(c, "crew"))
        kept.append(len(crew.journal.entries))
        if sweep.number in (2, 5):
            killed.append(kill(crew.actors[sweep.number % 2]))

    votes = open_votes(world.folder, n_actors=2, checkpoint=tmp_path / "n")
    there = aggregator("idbla", device="ray", **FEW).fit(votes, on_sweep=on_sweep)
    assert len(set(killed)) == 2 and kept[1:] == [1] * (FEW["max_sweeps"] - 1)
    np.testing.assert_allclose(rows(there), rows(here), atol=1e-9)


def test_a_sweep_is_one_round_trip(world, monkeypatch):
    """Every actor is asked once, all are waited for at once, and no table is put into the store."""
    monkeypatch.setattr(ray_crew, "LARGE", 1)
    log, sweeps = [], []
    monkeypatch.setattr(ray_crew, "got", lambda ref: (log.append("got"), the_cluster.got(ref))[1])
    put = ray.put
    monkeypatch.setattr(ray, "put", lambda one: (log.append(np.shape(one)), put(one))[1])
    aggregator("dawid-skene", device="ray", **FEW).fit(
        open_votes(world.folder, n_actors=2),
        on_sweep=lambda at: (sweeps.append(log.copy()), log.clear()),
    )
    cells = (12 * 3 * 3,)
    assert all(one.count("got") == 1 and cells not in one for one in sweeps[1:])


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """Workers enough for blocks of tables that do not travel within a message of Ray's."""
    rng, n = np.random.default_rng(1), 18_000
    truth, worker, item = rng.integers(0, 3, 3000), np.arange(n) % 9000, rng.integers(0, 3000, n)
    label = np.where(rng.random(n) < 0.8, truth[item], rng.integers(0, 3, n))
    table = pa.table({"task": item, "worker": worker, "label": [CLASSES[k] for k in label]})
    folder = tmp_path_factory.mktemp("crowd")
    (file,) = write_parts(table, folder, 1)
    return code_votes(str(file), folder / "coded", n_buckets=8).folder


@pytest.mark.parametrize("when", ["between sweeps", "a table is made"])
def test_a_machine_that_is_lost_takes_nothing_along(crowd, cluster, monkeypatch, when):
    """One of two machines, with an actor, and blocks of a table that nobody else has read."""
    here = aggregator("bcc", **FEW).fit(open_votes(crowd))
    other = cluster.add_node(num_cpus=4, object_store_memory=100 << 20)
    cluster.wait_for_nodes()
    made, again, on, near = [], [], [], []
    true = {name: getattr(ray_crew, name) for name in ("tabulated", "made_again")}

    def tabulated(crew, *rest):
        found = true["tabulated"](crew, *rest)
        made.append(rest[0])
        if when == "a table is made" and len(made) == 3:
            cluster.remove_node(other, allow_graceful=False)
        return found

    def made_again(*given):
        again.append(given)
        return true["made_again"](*given)

    def on_sweep(sweep):
        on.append(nodes(the_crew().actors))
        near.append(sorted(the_crew().near))
        if when == "between sweeps" and sweep.number == 3:
            cluster.remove_node(other, allow_graceful=False)

    monkeypatch.setattr(ray_crew, "tabulated", tabulated)
    monkeypatch.setattr(ray_crew, "made_again", made_again)
    votes = open_votes(crowd, n_actors=2, worker_blocks=None if when == "between sweeps" else 5)
    there = aggregator("bcc", device="ray", **FEW).fit(votes, on_sweep=on_sweep)
    agree(there, here)
    assert (len(on[0]), len(on[-1])) == (2, 1)
    if when == "between sweeps":
        assert (near[0], near[-1]) == ([False, True], [True, True])
    else:
        assert len(again) == 1


def test_what_nothing_brings_back_is_said():
    def do():
        raise ray.exceptions.ObjectLostError("ab", "here", "")

    with pytest.raises(ClusterError, match="no other had .*with a checkpoint it goes on"):
        ray_crew.RayCrew._with_tables(SimpleNamespace(actors=[]), [], do)


def test_large_counts_are_added_on_the_cluster(world, monkeypatch):
    monkeypatch.setattr(ray_crew, "TREE", 1)
    there = aggregator("bcc", device="ray", **FEW).fit(open_votes(world.folder, n_actors=3))
    here = aggregator("bcc", **FEW).fit(open_votes(world.folder))
    np.testing.assert_allclose(rows(there), rows(here), atol=1e-9)


def test_errors_of_actors_are_ours_and_what_cannot_be_is_said_before(world, tmp_path, monkeypatch):
    """Also of an operation that nobody waits for."""
    shutil.copytree(world.folder, tmp_path / "coded")
    (tmp_path / "coded" / "buckets" / "000000" / "label.npy").unlink()
    with pytest.raises(VotesError, match="bucket 0 cannot be read"):
        aggregator("bcc", device="ray").fit(open_votes(tmp_path / "coded", n_actors=1))
    with pytest.raises(SettingsError, match="5 actors of 1 threads: the cluster has 4 cores"):
        aggregator("bcc", device="ray").fit(open_votes(world.folder, n_actors=5))
    monkeypatch.setattr(the_cluster, "RUNTIME", 1 << 50)
    with pytest.raises(VotesError, match="an actor needs up to .* the cluster has"):
        aggregator("bcc", device="ray").fit(open_votes(world.folder, n_actors=2))
