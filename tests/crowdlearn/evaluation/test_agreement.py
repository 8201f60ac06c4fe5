"""Agreement against sums over pairs of votes, published examples, and laws between measures."""

from itertools import combinations, permutations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from statsmodels.stats.inter_rater import fleiss_kappa as kappa_of_counts

from crowdlearn.errors import SettingsError, VotesError
from crowdlearn.evaluation import agreement
from crowdlearn.evaluation.agreement import (
    class_agreement,
    cohen_kappas,
    fleiss_kappa,
    krippendorff_alpha,
    percent_agreement,
)
from crowdlearn.simulate import dawid_skene, given_workers, poisson_per_item
from crowdlearn.votes import Votes

LEVELS = ("nominal", "ordinal", "interval")

# Krippendorff (2011), section C: four observers, twelve units, values 1 to 5, . is missing
FOUR_OBSERVERS = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")


@pytest.fixture
def published() -> Votes:
    cells = [
        (unit, observer, int(value) - 1)
        for observer, values in enumerate(FOUR_OBSERVERS)
        for unit, value in enumerate(values)
        if value != "."
    ]
    item, worker, label = np.array(cells).T
    return Votes.from_codes(item, worker, label)


@pytest.fixture
def votes() -> Votes:
    return dawid_skene(80, 12, 4, assign=poisson_per_item(4.0), accuracy=(0.4, 0.9), seed=2).votes


def alpha_by_pairs(votes: Votes, level: str) -> float:
    """1 - D_o / D_e by loops over ordered pairs of votes, Krippendorff (2011), section E."""
    units = [votes.label[votes.votes_of(i)] for i in range(votes.n_items)]
    units = [unit for unit in units if len(unit) >= 2]
    values = np.concatenate(units)
    n_of = np.bincount(values, minlength=votes.n_classes)

    def distance(c: int, k: int) -> float:
        low, high = min(c, k), max(c, k)
        if level == "nominal":
            return float(c != k)
        if level == "interval":
            return float((c - k) ** 2)
        return float((n_of[low : high + 1].sum() - (n_of[c] + n_of[k]) / 2) ** 2)

    observed = sum(
        sum(distance(c, k) for c, k in permutations(unit, 2)) / (len(unit) - 1) for unit in units
    )
    expected = sum(distance(c, k) for c, k in permutations(values, 2)) / (len(values) - 1)
    return 1 - observed / expected


@pytest.mark.parametrize(
    ("level", "expected"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_alpha_of_the_published_example(published, level, expected):
    found = krippendorff_alpha(published, level)
    assert found.alpha == pytest.approx(alpha_by_pairs(published, level), abs=1e-12)
    assert round(found.alpha, 3) == expected
    assert found.n_items == 11


@pytest.mark.parametrize("level", LEVELS)
def test_alpha_is_the_sum_over_pairs_by_either_way(votes, level):
    expected = alpha_by_pairs(votes, level)
    assert krippendorff_alpha(votes, level, n_resamples=1).alpha == pytest.approx(expected)
    counts = votes.counts()
    counts = counts[counts.sum(axis=1) >= 2]
    rows, repeats = np.unique(counts, axis=0, return_counts=True)
    pairs = agreement._coincidences(rows, repeats[None].astype(float))
    assert agreement._alphas(pairs, level)[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("level", LEVELS)
def test_the_interval_is_that_of_resampled_items(votes, level):
    paired = votes.only_items(votes.votes_per_item >= 2)
    rng = np.random.default_rng(0)
    counts = paired.counts()
    drawn = []
    for _ in range(2_000):
        rows = counts[rng.integers(0, len(counts), len(counts))]
        pairs = agreement._coincidences(rows, np.ones((1, len(rows))))
        drawn.append(agreement._alphas(pairs, level)[0])
    found = krippendorff_alpha(votes, level, n_resamples=4_000, interval=0.9)
    tolerance = 0.12 * np.std(drawn)  # about 4 standard errors of either quantile
    assert_allclose([found.low, found.high], np.quantile(drawn, [0.05, 0.95]), atol=tolerance)


def test_intervals_cover_alpha_of_the_whole_population():
    confusion = np.repeat(np.array([[[0.8, 0.2], [0.3, 0.7]]]), 5, axis=0)
    says_first = np.array([0.8, 0.3])  # by truth; alpha of the population from its definition
    observed = np.mean(2 * says_first * (1 - says_first))
    expected = 2 * says_first.mean() * (1 - says_first.mean())
    covered = []
    for seed in range(200):
        world = given_workers(confusion, n_items=150, seed=seed)
        found = krippendorff_alpha(world.votes, n_resamples=300, seed=seed)
        covered.append(found.low <= 1 - observed / expected <= found.high)
    assert abs(np.mean(covered) - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 200) + 0.01


def test_fleiss_kappa_on_the_modal_number_of_votes(votes):
    sizes = votes.votes_per_item
    modal = np.argmax(np.bincount(sizes[sizes >= 2]))
    counts = votes.counts()[sizes == modal]
    found = fleiss_kappa(votes)
    agreed = ((counts**2).sum(axis=1) - modal) / (modal * (modal - 1))
    chance = ((counts.sum(axis=0) / counts.sum()) ** 2).sum()
    assert found.kappa == pytest.approx((agreed.mean() - chance) / (1 - chance))
    assert found.kappa == pytest.approx(kappa_of_counts(counts))
    assert (found.n_votes, found.n_items) == (modal, len(counts))
    assert found.n_items + found.n_left_out == votes.n_items


def test_alpha_and_fleiss_kappa_differ_by_the_finite_sample_factor():
    votes = dawid_skene(60, 10, 3, seed=1).votes  # five votes an item
    n = votes.n_votes
    expected = 1 - (1 - fleiss_kappa(votes).kappa) * (n - 1) / n
    assert krippendorff_alpha(votes).alpha == pytest.approx(expected, abs=1e-12)


def test_cohen_kappas_of_every_pair_by_its_formula(votes):
    rows = cohen_kappas(votes, min_common=5).to_pylist()
    labels = [{} for _ in range(votes.n_workers)]
    for item, worker, label in zip(votes.item, votes.worker, votes.label, strict=True):
        labels[worker].setdefault(int(item), int(label))
    expected = {}
    for a, b in combinations(range(votes.n_workers), 2):
        common = sorted(labels[a].keys() & labels[b].keys())
        if len(common) >= 5:
            left, right = np.array([(labels[a][i], labels[b][i]) for i in common]).T
            chance = sum((left == k).mean() * (right == k).mean() for k in range(4))
            equal = (left == right).mean()
            expected[str(a), str(b)] = len(common), equal, (equal - chance) / (1 - chance)
    assert len(rows) == len(expected) > 20
    for row in rows:
        found = row["n_common"], row["agreement"], row["kappa"]
        assert found == pytest.approx(expected[row["worker_a"], row["worker_b"]])
    sizes = [row["n_common"] for row in rows]
    assert sizes == sorted(sizes, reverse=True)
    assert cohen_kappas(votes, min_common=5, max_pairs=3).to_pylist() == rows[:3]


def test_cohen_kappas_take_the_first_of_repeated_votes_and_know_no_constant_pair():
    item = np.array([0, 0, 0, 1, 1, 2, 2])
    worker = np.array([0, 0, 1, 0, 1, 0, 1])
    label = np.array([0, 1, 0, 0, 0, 0, 0])
    row = cohen_kappas(Votes.from_codes(item, worker, label), min_common=3).to_pylist()[0]
    assert (row["n_common"], row["agreement"]) == (3, 1.0)
    assert np.isnan(row["kappa"])
    assert cohen_kappas(Votes.from_codes(item, worker, label), min_common=4).num_rows == 0


def test_plain_agreement_is_the_share_of_equal_pairs(votes):
    units = [votes.label[votes.votes_of(i)] for i in range(votes.n_items)]
    pairs = np.array([p for unit in units for p in permutations(unit, 2)])
    assert percent_agreement(votes) == pytest.approx((pairs[:, 0] == pairs[:, 1]).mean())
    table = class_agreement(votes)
    for k, found in enumerate(table["agreement"].to_pylist()):
        assert found == pytest.approx((pairs[pairs[:, 0] == k, 1] == k).mean())
    assert sum(table["share"].to_pylist()) == pytest.approx(1)


def test_chance_votes_agree_as_chance_has_it():
    confusion = np.full((10, 3, 3), 1 / 3)
    found = krippendorff_alpha(given_workers(confusion, n_items=2_000, seed=5).votes, interval=0.99)
    assert found.low < 0 < found.high
    assert found.high - found.low < 0.05


def test_unanimous_votes_leave_alpha_and_kappa_undefined():
    votes = Votes.from_codes(
        np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), np.zeros(4, dtype=int), classes=2
    )
    found = krippendorff_alpha(votes)
    assert np.isnan([found.alpha, found.low, fleiss_kappa(votes).kappa]).all()
    assert percent_agreement(votes) == 1


def test_votes_without_pairs_and_bad_settings_are_refused(votes):
    single = Votes.from_codes(np.arange(3), np.arange(3), np.array([0, 1, 0]))
    for measure in (krippendorff_alpha, fleiss_kappa, percent_agreement, class_agreement):
        with pytest.raises(VotesError, match="no item has two votes"):
            measure(single)
    with pytest.raises(SettingsError, match="interval is 2"):
        krippendorff_alpha(votes, interval=2.0)
    with pytest.raises(SettingsError, match="min_common is 0"):
        cohen_kappas(votes, min_common=0)


def test_too_many_pairs_are_refused_before_they_are_made(votes, monkeypatch):
    monkeypatch.setattr(agreement, "MAX_PAIRS", 10)
    with pytest.raises(VotesError, match="more than 10: take a sample"):
        cohen_kappas(votes, min_common=1)
