"""Workloads against the probabilities of all sets that could be drawn."""

from itertools import combinations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import chisquare

from crowdlearn.errors import SettingsError
from crowdlearn.simulate import dawid_skene
from crowdlearn.simulate.assign import (
    alternating,
    as_in,
    everyone,
    fixed_per_item,
    poisson_per_item,
    uniform_pairs,
    zipf_workers,
)

WORKLOADS = {
    "fixed": fixed_per_item(4),
    "all": fixed_per_item(12),
    "poisson": poisson_per_item(3.0),
    "few pairs": uniform_pairs(500),
    "many pairs": uniform_pairs(2_300),
    "zipf": zipf_workers(6, 1.5),
    "everyone": everyone(missing=0.3),
    "alternating": alternating(0.2),
}


@pytest.mark.parametrize("assign", WORKLOADS.values(), ids=WORKLOADS)
def test_pairs_are_different_sorted_in_range_and_fixed_by_the_seed(assign):
    item, worker = assign(np.random.default_rng(1), 200, 12)
    assert item.dtype == worker.dtype == np.int32
    assert (np.diff(item) >= 0).all()
    assert item.min() >= 0 and item.max() < 200
    assert worker.min() >= 0 and worker.max() < 12
    assert len(np.unique(item * 12 + worker)) == len(item)
    again = assign(np.random.default_rng(1), 200, 12)
    assert_array_equal(again, (item, worker))


def rows_of(item: np.ndarray, worker: np.ndarray) -> list[tuple[int, ...]]:
    starts = np.flatnonzero(np.diff(item)) + 1
    return [tuple(sorted(row.tolist())) for row in np.split(worker, starts)]


def test_all_sets_of_workers_are_equally_likely():
    rows = rows_of(*fixed_per_item(3)(np.random.default_rng(0), 20_000, 5))
    counts = [rows.count(chosen) for chosen in combinations(range(5), 3)]
    assert sum(counts) == 20_000
    assert chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("n_votes", [2, 4])  # drawn, or the complement is
def test_all_sets_of_pairs_are_equally_likely(n_votes):
    rng, found = np.random.default_rng(3), []
    for _ in range(1_500):
        item, worker = uniform_pairs(n_votes)(rng, 2, 3)
        found.append(tuple((item * 3 + worker).tolist()))
    counts = [found.count(chosen) for chosen in combinations(range(6), n_votes)]
    assert sum(counts) == 1_500
    assert chisquare(counts).pvalue > 1e-4


def test_uniform_pairs_has_as_many_votes_as_asked():
    for n_votes in (1, 40, 1_000, 1_199, 1_200):
        item, _ = uniform_pairs(n_votes)(np.random.default_rng(0), 100, 12)
        assert len(item) == n_votes


def test_zipf_workers_are_drawn_one_after_the_other():
    popularity = np.arange(1, 6) ** -1.2
    popularity /= popularity.sum()
    expected = {
        (a, b): popularity[a] * popularity[b] * (1 / (1 - popularity[a]) + 1 / (1 - popularity[b]))
        for a, b in combinations(range(5), 2)
    }
    rows = rows_of(*zipf_workers(2, 1.2)(np.random.default_rng(1), 20_000, 5))
    counts = [rows.count(pair) for pair in expected]
    assert chisquare(counts, 20_000 * np.array(list(expected.values()))).pvalue > 1e-4


def test_zipf_shares_fall_as_a_power_of_the_rank():
    _, worker = zipf_workers(1, 1.0)(np.random.default_rng(2), 300_000, 50)
    shares = np.bincount(worker, minlength=50) / len(worker)
    expected = 1 / np.arange(1, 51)
    expected /= expected.sum()
    assert_allclose(shares, expected, atol=4 * np.sqrt(expected.max() / 300_000))


def test_poisson_votes_have_the_mean_and_at_least_one():
    item, _ = poisson_per_item(4.0)(np.random.default_rng(0), 20_000, 60)
    counts = np.bincount(item, minlength=20_000)
    assert counts.min() == 1
    assert counts.mean() == pytest.approx(4, abs=4 * np.sqrt(3 / 20_000))
    assert counts.var() == pytest.approx(3, rel=0.06)


def test_even_workers_skip_first_and_odd_ones_later():
    item, worker = alternating(0.1)(np.random.default_rng(0), 4_000, 4)
    table = np.zeros((4_000, 4))
    table[item, worker] = 1
    kept = table.reshape(2, 2_000, 4).mean(axis=1)
    assert_allclose(kept, [[0.8, 1, 0.8, 1], [1, 0.8, 1, 0.8]], atol=4 * 0.4 / np.sqrt(2_000))


def test_the_workload_of_real_votes_is_kept():
    votes = dawid_skene(30, 8, assign=poisson_per_item(3.0)).votes
    copied = dawid_skene(30, 8, assign=as_in(votes), seed=9).votes
    assert_array_equal(copied.item, votes.item)
    assert_array_equal(copied.worker, votes.worker)
    with pytest.raises(SettingsError, match="the world has 31 items"):
        dawid_skene(31, 8, assign=as_in(votes))


@pytest.mark.parametrize(
    ("assign", "message"),
    [
        (fixed_per_item(6), "6 votes an item: with 5 workers 1 to 5"),
        (fixed_per_item(0), "0 votes an item"),
        (uniform_pairs(51), "n_votes is 51: 10 items and 5 workers make 1 to 50"),
        (zipf_workers(3), "1 to 2 is possible"),
    ],
)
def test_impossible_workloads_are_refused(assign, message):
    with pytest.raises(SettingsError, match=message):
        assign(np.random.default_rng(0), 10, 5)


def test_settings_out_of_range_are_refused():
    with pytest.raises(SettingsError, match="mean is 0.5"):
        poisson_per_item(0.5)
    with pytest.raises(SettingsError, match="exponent is -1"):
        zipf_workers(2, -1.0)
    with pytest.raises(SettingsError, match="votes cannot be missing"):
        everyone(missing=1.0)
    with pytest.raises(SettingsError, match="votes cannot be missing"):
        alternating(0.5)
