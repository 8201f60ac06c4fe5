"""Fits whose tables are cut by workers are those with whole tables."""

import functools
import gc

import numpy as np
import pytest
from scipy.special import logsumexp, softmax

from crowdlearn.aggregators import aggregator
from crowdlearn.aggregators.worker_history import WorkerHistory
from crowdlearn.errors import SettingsError, VotesError
from crowdlearn.shards import crews, open_votes
from crowdlearn.sweeps import cut_kernels as kernels
from crowdlearn.sweeps import cuts
from crowdlearn.sweeps.cuts import CutArray
from tests.crowdlearn.shards.conftest import world  # noqa: F401
from tests.crowdlearn.sweeps.test_sharded import SMALL, plain, rows

pytestmark = pytest.mark.filterwarnings("ignore::crowdlearn.errors.ConvergenceWarning")
PRODUCTS = ("dawid-skene", "one-coin", "bcc", "ebcc")
GUESSES = ("idbla", "fixed-idbla", "idbla-factorised", "fixed-idbla-factorised")
SETTINGS = SMALL | {"ebcc": {"max_sweeps": 10, "n_restarts": 2}}
SETTINGS |= {name: {"max_sweeps": 12} for name in GUESSES}  # bounds agree sweep by sweep


def agree(one, other):
    """Posteriors, parameters, bounds and intervals of two fits."""
    np.testing.assert_allclose(rows(one), rows(other), atol=1e-9)
    np.testing.assert_allclose(one.history.bound, other.history.bound, rtol=1e-9)
    np.testing.assert_allclose(one.prior, other.prior, rtol=1e-9)
    np.testing.assert_allclose(one.confusion, other.confusion, atol=1e-9)
    np.testing.assert_allclose(one.worker_accuracy.low, other.worker_accuracy.low, atol=1e-9)


@pytest.fixture(scope="module")
def fitted(world):  # noqa: F811
    """(name, how the votes are opened) -> a fit with nine gold answers; made once."""
    names = world.coded.item_names(0, 1)[:9].to_pylist()
    gold = dict(zip(names, [*"c0 c1 c2".split()] * 3, strict=True))

    @functools.cache
    def fit(name, **how):
        method = aggregator(name, **SETTINGS.get(name, {}))
        return method.fit(open_votes(world.folder, **how), gold=gold)

    return fit


@pytest.mark.parametrize("memory", [None, 1], ids=["in memory", "in turn"])
@pytest.mark.parametrize("name", PRODUCTS + GUESSES)
def test_a_fit_with_cut_tables_is_that_with_whole_ones(fitted, name, memory):
    there = fitted(name, memory=memory, worker_blocks=5)
    here = fitted(name, worker_blocks=1)
    assert isinstance(there.confusion, CutArray) and not isinstance(here.confusion, CutArray)
    agree(there, here)
    np.testing.assert_allclose(there.confusion[-1], here.confusion[-1], atol=1e-9)


@pytest.mark.parametrize("n_blocks", [2, 12, 1000])
def test_it_does_not_matter_how_many_blocks_there_are(world, n_blocks):  # noqa: F811
    cut_up = aggregator("bcc").fit(open_votes(world.folder, worker_blocks=n_blocks))
    agree(cut_up, aggregator("bcc").fit(plain(world.coded)))


def test_the_files_of_a_result_are_those_of_whole_tables(world, tmp_path):  # noqa: F811
    for name, blocks in (("cut", 5), ("whole", 1)):
        fit = aggregator("idbla-factorised").fit(open_votes(world.folder, worker_blocks=blocks))
        fit.save(tmp_path / name)
    for file in ("arrays.npz", "predictor.npz"):
        with np.load(tmp_path / "cut" / file) as one, np.load(tmp_path / "whole" / file) as other:
            assert one.files == other.files
            for key in set(one.files) - {"kind"}:
                np.testing.assert_allclose(one[key], other[key], atol=1e-9)


def test_a_history_adds_to_the_workers_of_a_block(world):  # noqa: F811
    earlier = WorkerHistory.from_fit(aggregator("majority").fit(plain(world.coded)))
    for name in ("dawid-skene", "bcc"):
        fits = [
            aggregator(name).fit(open_votes(world.folder, worker_blocks=n), history=earlier)
            for n in (5, 1)
        ]
        agree(*fits)


def test_tables_are_let_go(world):  # noqa: F811
    held = []
    votes = open_votes(world.folder, memory=1, worker_blocks=3)

    def look(_):
        store = next(one for one in crews._crews.values() if one.votes is votes).tables
        held.append((len(store.by_name), len(list(store._folder.iterdir()))))

    gc.collect()
    aggregator("bcc", max_sweeps=5).fit(votes, on_sweep=look)
    assert held == [(1, 3)] * 5


def test_cutting_starts_where_tables_are_large_and_methods_that_cannot_say_so(
    world, monkeypatch  # noqa: F811
):  # fmt: skip
    assert world.coded.cut(3) is None
    monkeypatch.setattr(cuts, "CUT_BYTES", 8 * 12 * 9 - 1)
    monkeypatch.setattr(cuts, "BLOCK_BYTES", 8 * 3 * 9)
    assert world.coded.cut(3) == cuts.Cut(12, 3, 3, size=3)
    method = aggregator("bcc-gibbs", **SMALL["bcc-gibbs"])
    method.fit(world.coded)  # whole, as there is room
    with pytest.raises(VotesError, match="tables of 12 workers, 3 classes take .* bcc-gibbs"):
        method.fit(open_votes(world.folder, memory=1))
    with pytest.raises(SettingsError, match="worker_blocks = 4: .* not cut by workers"):
        method.fit(open_votes(world.folder, worker_blocks=4))


@pytest.mark.parametrize("n_states", [3, 12])
def test_posteriors_do_not_underflow(n_states):
    """Many votes that all but rule out a state: logs, and the walk over blocks, agree."""
    rng = np.random.default_rng(0)
    n_items, n = 5, 900
    item, row = np.sort(rng.integers(0, n_items, n)), rng.integers(0, 40, n)
    table = 10.0 ** -rng.uniform(0, 30, (40, n_states))
    p, shift = np.full((n_items, n_states), 0.5), np.zeros((n_items, n_states), np.int32)
    kernels.multiply(
        0, n, row.astype(np.int32), item.astype(np.int32), table.ravel(), p, shift
    )  # fmt: skip
    logs = np.log(np.full((n_items, n_states), 0.5))
    np.add.at(logs, item, np.log(table)[row])
    bound = kernels.normalise(0, n_items, p, shift)
    assert bound == pytest.approx(logsumexp(logs, axis=1).sum(), rel=1e-12)
    np.testing.assert_allclose(p, softmax(logs, axis=1), atol=1e-9)
