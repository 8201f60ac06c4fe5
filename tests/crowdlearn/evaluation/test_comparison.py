"""The paired bootstrap against all resamples there are, its coverage, and the runs of `compare`."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_allclose

import crowdlearn.aggregators
from crowdlearn.aggregation import Aggregation, History, Interval
from crowdlearn.errors import SettingsError, VotesError
from crowdlearn.evaluation import accuracy, calibration, comparison
from crowdlearn.evaluation.comparison import against_best, compare, paired_difference, summarise
from crowdlearn.predictors import SharePredictor
from crowdlearn.simulate import dawid_skene
from crowdlearn.votes import Votes


def test_the_bootstrap_is_that_over_all_resamples():
    first, second = np.array([1.0, 0, 1, 0, 1]), np.array([0.0, 0, 1, 1, 0])
    difference = first - second
    means = np.array([difference[list(r)].mean() for r in product(range(5), repeat=5)])
    flips = (means < 0).mean() + (means == 0).mean() / 2
    found = paired_difference(first, second, n_resamples=40_000, level=0.8)
    assert found.mean == pytest.approx(0.2)
    assert found.flips == pytest.approx(flips, abs=4 * np.sqrt(0.25 / 40_000))
    assert (found.low, found.high) == tuple(np.quantile(means, [0.1, 0.9]))


def test_large_samples_are_resampled_in_chunks(monkeypatch):
    values = np.random.default_rng(0).normal(size=100)
    whole = paired_difference(values, np.zeros(100), seed=5)
    monkeypatch.setattr(comparison, "CHUNK", 1_000)
    assert paired_difference(values, np.zeros(100), seed=5) == whole


def test_swapping_the_methods_swaps_the_sign():
    rng = np.random.default_rng(1)
    a, b = rng.random(50), rng.random(50)
    there, back = paired_difference(a, b), paired_difference(b, a)
    assert_allclose([there.mean, there.low, there.high], [-back.mean, -back.high, -back.low])
    assert there.flips == back.flips
    assert paired_difference(a, a).flips == 0.5


def test_intervals_cover_the_true_difference():
    rng = np.random.default_rng(2)
    n_covered, n_trials = 0, 300
    for seed in range(n_trials):
        a, b = (rng.random((2, 120)) < [[0.3], [0.2]]).astype(float)
        found = paired_difference(a, b, seed=seed, n_resamples=400)
        n_covered += found.low <= 0.1 <= found.high
    assert abs(n_covered / n_trials - 0.95) < 4 * np.sqrt(0.95 * 0.05 / n_trials)


def test_losses_of_different_items_are_refused():
    with pytest.raises(SettingsError, match="3 losses against 2"):
        paired_difference(np.zeros(3), np.zeros(2))
    with pytest.raises(SettingsError, match="n_resamples is 0"):
        paired_difference(np.zeros(3), np.zeros(3), n_resamples=0)


def fit_of(votes: Votes, posterior: np.ndarray) -> Aggregation:
    n_workers, n_classes = votes.n_workers, votes.n_classes
    half = np.full(n_workers, 0.5)
    return Aggregation(
        method="made up",
        settings={},
        votes=votes,
        posterior=posterior,
        labels=posterior.argmax(axis=1),
        prior=np.full(n_classes, 1 / n_classes),
        confusion=np.full((n_workers, n_classes, n_classes), 1 / n_classes),
        worker_accuracy=Interval(half, half, half),
        history=History(np.zeros(3), np.zeros(3), "none", converged=True),
        predictor=SharePredictor(np.ones(n_workers)),
        gold=np.full(votes.n_items, -1),
        seconds=0.0,
    )


@dataclass(frozen=True)
class Shares:
    def fit(self, votes, *, gold=None, on_sweep=None):
        return fit_of(votes, votes.shares())


@dataclass(frozen=True)
class Noisy:
    seed: int = 0
    random = True

    def fit(self, votes, *, gold=None, on_sweep=None):
        noise = np.random.default_rng(self.seed).dirichlet(np.ones(votes.n_classes), votes.n_items)
        return fit_of(votes, (votes.shares() + noise) / 2)


@dataclass(frozen=True)
class Broken:
    def fit(self, votes, *, gold=None, on_sweep=None):
        raise ZeroDivisionError("nothing to divide by")


@pytest.fixture
def methods(monkeypatch):
    table = {"shares": Shares, "noisy": Noisy, "broken": Broken}

    def make(name: str, seed: int | None = None):
        if name not in table:
            raise SettingsError(f"no method {name!r}")
        return table[name]() if seed is None else table[name](seed=seed)

    monkeypatch.setattr(crowdlearn.aggregators, "AGGREGATORS", table, raising=False)
    monkeypatch.setattr(crowdlearn.aggregators, "aggregator", make, raising=False)


@pytest.fixture
def world():
    return dawid_skene(200, 20, 3, accuracy=(0.4, 0.7), seed=4)


def test_compare_runs_each_method_and_seed_and_survives_a_failure(methods, world):
    done = []
    table = compare(world.votes, world.truth, seeds=(3, 8), on_done=done.append)
    assert table.column_names == list(comparison.COLUMNS)
    assert table["method"].to_pylist() == ["shares", "noisy", "noisy", "broken"]
    assert table["seed"].to_pylist() == [None, 3, 8, None]
    assert table["failed"].to_pylist() == [None] * 3 + ["ZeroDivisionError: nothing to divide by"]
    assert [run.method for run in done] == table["method"].to_pylist()
    noisy, row = Noisy(seed=8).fit(world.votes).posterior, table.slice(2, 1).to_pylist()[0]
    assert row["error"] == accuracy.error(noisy, world.truth)
    assert row["log_loss"] == accuracy.log_loss(noisy, world.truth)
    assert row["brier"] == accuracy.brier(noisy, world.truth)
    assert row["ece"] == calibration.ece(noisy, world.truth)
    assert (row["n_sweeps"], row["converged"]) == (3, True)
    assert np.isnan(table["error"].to_pylist()[3])


def test_summary_has_mean_and_spread_best_first(methods, world):
    table = compare(world.votes, world.truth, seeds=(1, 2, 3))
    summary = {row["method"]: row for row in summarise(table).to_pylist()}
    noisy = table["error"].to_numpy()[1:4]
    assert list(summary) == ["shares", "noisy", "broken"]
    assert summary["noisy"]["error"] == pytest.approx(noisy.mean())
    assert summary["noisy"]["error_spread"] == pytest.approx(noisy.std(ddof=1))
    assert np.isnan(summary["shares"]["error_spread"])
    assert (summary["broken"]["n_runs"], summary["broken"]["n_failed"]) == (1, 1)


def test_against_best_pairs_the_average_runs(methods, world):
    runs = []
    compare(world.votes, world.truth, seeds=(1, 2), on_done=runs.append)
    rows = against_best(runs, loss=lambda run: run.item_log_loss).to_pylist()
    mean = (runs[1].item_log_loss + runs[2].item_log_loss) / 2
    losses = {"noisy": mean, "shares": runs[0].item_log_loss}
    best, worst = sorted(losses, key=lambda name: losses[name].mean())
    expected = paired_difference(losses[worst], losses[best])
    assert [row["method"] for row in rows] == [best, worst]  # broken is left out
    assert (rows[0]["difference"], rows[0]["low"], rows[0]["high"]) == (0, 0, 0)
    assert (rows[1]["difference"], rows[1]["low"]) == (expected.mean, expected.low)
    assert rows[1]["loss"] == pytest.approx(mean.mean() if worst == "noisy" else rows[1]["loss"])
    with pytest.raises(VotesError, match="no method finished"):
        against_best([run for run in runs if run.failed])


def test_a_bad_call_is_refused_before_anything_runs(methods, world):
    done = []
    with pytest.raises(SettingsError, match="no method 'nosiy'"):
        compare(world.votes, world.truth, ["shares", "nosiy"], on_done=done.append)
    with pytest.raises(VotesError, match="no item has a known truth"):
        compare(world.votes, np.full(200, -1), ["shares"], on_done=done.append)
    with pytest.raises(SettingsError, match="seeds is empty"):
        compare(world.votes, world.truth, ["shares"], seeds=(), on_done=done.append)
    assert not done


def test_majority_in_the_table_has_the_error_of_the_vote_shares(world):
    row = compare(world.votes, world.truth, ["majority"], seeds=(0, 1)).to_pylist()
    assert len(row) == 1 and row[0]["failed"] is None
    assert row[0]["error"] == pytest.approx(accuracy.error(world.votes.shares(), world.truth))
