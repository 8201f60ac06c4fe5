"""Methods on coded votes give what they give on the same votes in memory."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from crowdlearn.aggregators import aggregator
from crowdlearn.errors import SettingsError, VotesError
from crowdlearn.shards import open_votes
from crowdlearn.votes import Votes
from tests.crowdlearn.shards.conftest import world  # noqa: F401

pytestmark = pytest.mark.filterwarnings("ignore::crowdlearn.errors.ConvergenceWarning")
WITHOUT_CHANCE = ("dawid-skene", "one-coin", "bcc", "idbla", "fixed-idbla", "idbla-factorised")
WITH_CHANCE = ("ebcc", "bcc-gibbs", "idbla-gibbs")
SMALL = {
    "ebcc": {"max_sweeps": 20}, "bcc-gibbs": {"n_warmup": 5, "n_draws": 20, "n_chains": 2},
    "idbla-gibbs": {"n_warmup": 5, "n_draws": 20, "n_chains": 2},
}  # fmt: skip


def rows(fit):
    """Posteriors by item."""
    table = fit.to_table()
    p = np.stack([table[f"p_{c}"].to_numpy() for c in fit.votes.classes], axis=1)
    return p[np.argsort(table["task"].to_pylist())]


def plain(coded):
    """The same votes in memory, in the order of the codes."""
    votes = coded.load(0, coded.n_buckets)
    return Votes(
        coded.item_names(0, coded.n_buckets), votes.workers, votes.classes, votes.item_offsets,
        votes.worker, votes.label,
    )  # fmt: skip


@pytest.mark.parametrize("memory", [None, 1], ids=["in memory", "in turn"])
@pytest.mark.parametrize("name", WITHOUT_CHANCE)
def test_a_fit_is_that_of_the_votes_in_memory(world, name, memory):  # noqa: F811
    votes = plain(world.coded)
    gold = dict(zip(votes.items[:9].to_pylist(), [*"c0 c1 c2".split()] * 3, strict=True))
    there = aggregator(name).fit(open_votes(world.folder, memory=memory), gold=gold)
    here = aggregator(name).fit(votes, gold=gold)
    np.testing.assert_allclose(rows(there), rows(here), atol=1e-9)
    np.testing.assert_allclose(there.confusion, here.confusion, atol=1e-9)
    np.testing.assert_allclose(there.history.bound, here.history.bound, rtol=1e-9)
    np.testing.assert_allclose(there.worker_accuracy.low, here.worker_accuracy.low, atol=1e-9)
    assert there.workers_table().column_names == here.workers_table().column_names
    np.testing.assert_allclose(
        there.workers_table()["agreement"], here.workers_table()["agreement"], atol=0.02
    )  # ties are drawn by other streams
    said, known = there.summary(), here.summary()
    assert said["expected_error"] == pytest.approx(known["expected_error"], abs=1e-9)
    assert said["n_gold"] == known["n_gold"] == 9


@pytest.mark.parametrize("name", WITH_CHANCE)
def test_draws_do_not_depend_on_how_buckets_are_held(world, name):  # noqa: F811
    method = aggregator(name, **SMALL[name])
    at_once = method.fit(open_votes(world.folder))
    in_turn = method.fit(open_votes(world.folder, memory=1))
    np.testing.assert_allclose(rows(in_turn), rows(at_once), atol=1e-12)
    np.testing.assert_allclose(in_turn.history.bound, at_once.history.bound, rtol=1e-12)


def test_draws_are_from_the_posterior_of_the_votes_in_memory(world):  # noqa: F811
    method = aggregator("bcc-gibbs", n_warmup=50, n_draws=300, n_chains=2)
    there, here = rows(method.fit(world.coded)), rows(method.fit(plain(world.coded)))
    assert np.abs(there - here).mean() < 0.005 and np.abs(there - here).max() < 0.12


def test_a_result_is_written_in_parts_and_whole(world, tmp_path):  # noqa: F811
    fit = aggregator("idbla").fit(open_votes(world.folder, memory=1))
    fit.save(tmp_path / "out")
    table = pq.read_table(tmp_path / "out" / "posterior")
    assert len(list((tmp_path / "out" / "posterior").iterdir())) == world.coded.n_buckets
    mine = fit.to_table()
    for column in mine.column_names:
        assert table[column].to_pylist() == mine[column].to_pylist()
    assert sum(table["n_votes"].to_pylist()) == world.coded.n_votes


def test_what_cannot_be_is_refused(world):  # noqa: F811
    with pytest.raises(VotesError, match="gold: 'nobody' is not among the"):
        aggregator("bcc").fit(world.coded, gold={"nobody": "c0"})
    with pytest.raises(VotesError, match="gold: 'c9' is not one of c0, c1, c2"):
        aggregator("bcc").fit(world.coded, gold={"item 1": "c9"})
    with pytest.raises(SettingsError, match="coded votes are fitted on auto, cpu, ray"):
        aggregator("bcc", device="gpu").fit(world.coded)
    with pytest.raises(SettingsError, match="needs all votes in memory.*dawid-skene, "):
        _ = world.coded.worker  # what a method asks for that takes votes in memory only
    draws = aggregator("bcc-gibbs", **SMALL["bcc-gibbs"])
    with pytest.raises(SettingsError, match="checkpoint"):
        draws.fit(world.coded, resume=draws.fit(plain(world.coded)))
