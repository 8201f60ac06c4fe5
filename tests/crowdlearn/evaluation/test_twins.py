from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import binom, kstest

from crowdlearn.aggregation import Aggregation
from crowdlearn.aggregators import aggregator
from crowdlearn.errors import SettingsError
from crowdlearn.evaluation.twins import (
    Twins,
    discoveries,
    find_twins,
    merged,
    twins_effect,
    upper_tail,
)
from crowdlearn.simulate import World, colluding, dawid_skene, fixed_per_item
from crowdlearn.votes import Votes

pytestmark = pytest.mark.filterwarnings("ignore::crowdlearn.errors.ConvergenceWarning")


def test_the_tail_is_exact() -> None:
    assert_allclose(
        upper_tail(7, np.full(12, 0.4)), binom.sf(7, 12, 0.4) + binom.pmf(7, 12, 0.4) / 2
    )
    chance = np.array([0.9, 0.2, 0.5, 0.7])
    expected = 0.0
    for world in itertools.product((0, 1), repeat=4):
        weight = np.prod(np.where(world, chance, 1 - chance))
        expected += weight * ((sum(world) > 2) + 0.5 * (sum(world) == 2))
    assert_allclose(upper_tail(2, chance), expected)


def test_discoveries_are_those_of_benjamini_and_hochberg() -> None:
    p = np.array([0.041, 0.009, 0.6, 0.012, 0.03])  # bars at rate 0.05: 0.01, 0.02, ..., 0.05
    assert_array_equal(discoveries(p, 0.05), [False, True, False, True, True])
    assert_array_equal(discoveries(p + 0.3, 0.05), np.zeros(5, dtype=bool))
    assert len(discoveries(np.zeros(0), 0.05)) == 0


def test_chances_are_sums_over_truths_given_the_others() -> None:
    """Against Bayes' rule by loops, on one pair; also for a gold item."""
    rng = np.random.default_rng(0)
    item, worker = (a.ravel() for a in np.meshgrid(np.arange(4), np.arange(3), indexing="ij"))
    votes = Votes.from_codes(item, worker, rng.integers(0, 3, 12), classes=3)
    fit = aggregator("bcc").fit(votes, gold={"2": "1"})
    twins = find_twins(fit, min_common=4)
    pair = int(np.flatnonzero((twins.worker_a == 0) & (twins.worker_b == 2))[0])
    agreed, mean, wrong, wrong_mean = 0, 0.0, 0.0, 0.0
    for i in range(4):
        a, other, b = (int(votes.label[3 * i + w]) for w in range(3))
        rest = fit.prior * fit.confusion[1, :, other]
        rest = np.eye(3)[1] if i == 2 else rest / rest.sum()
        for k in range(3):
            both = fit.confusion[0, k] * fit.confusion[2, k]
            mean += rest[k] * both.sum()
            wrong_mean += rest[k] * (both * (1 - rest)).sum()
        agreed += a == b
        wrong += (1 - rest[a]) if a == b else 0.0
    assert twins.agreed[pair] == agreed
    assert_allclose(twins.expected[pair], mean)
    assert_allclose(twins.agreed_wrong[pair], wrong)
    assert_allclose(twins.expected_wrong[pair], wrong_mean)


@pytest.fixture(scope="module")
def honest() -> list[tuple[World, Twins, Twins]]:
    """Worlds without twins; judged with the true confusions, and with those of a fit."""
    found = []
    for seed in range(6):
        world = dawid_skene(600, 20, 3, assign=fixed_per_item(10), seed=seed)
        fit = aggregator("bcc").fit(world.votes)
        known = replace(fit, confusion=world.confusion, prior=world.prior)
        found.append((world, find_twins(known), find_twins(fit)))
    return found


def test_without_twins_p_values_are_uniform(honest: list[tuple[World, Twins, Twins]]) -> None:
    """1,140 pairs; exact where confusions are known, and not too small where they are learned."""
    known, learned = (np.concatenate([entry[side].p_value for entry in honest]) for side in (1, 2))
    assert kstest(known, "uniform").statistic < 1.63 / np.sqrt(len(known))  # level 0.01
    for bar in (0.01, 0.05):
        spread = np.sqrt(bar * (1 - bar) / len(learned))
        assert (learned <= bar).mean() < bar + 3 * spread
    for _, here, there in honest:
        assert here.n_groups == there.n_groups == 0
        assert abs(here.z.mean()) < 0.3 and abs(here.z_wrong.mean()) < 0.3
        assert 0.7 < here.z_wrong.std() < 1.3


@pytest.fixture(scope="module")
def rings() -> tuple[World, Aggregation, Twins]:
    world = colluding(
        600, 20, 3, n_rings=2, ring_size=4, copying=0.9, assign=fixed_per_item(8), seed=1
    )
    fit = aggregator("bcc").fit(world.votes)
    return world, fit, find_twins(fit)


def test_rings_are_found_and_nobody_else(rings: tuple[World, Aggregation, Twins]) -> None:
    world, _, twins = rings
    together = world.leader[twins.worker_a] == world.leader[twins.worker_b]
    assert_array_equal(twins.found, together)
    assert {frozenset(g) for g in twins.groups()} == {frozenset("0123"), frozenset("4567")}
    assert twins.z[together].min() > 3 and twins.z_wrong[together].min() > 3
    table = twins.to_table()
    assert table.num_rows == 190 and table["twins"].to_pylist()[:12] == [True] * 12
    assert table["p_value"].to_pylist() == sorted(twins.p_value.tolist())


def test_counted_once_the_rings_do_less_harm(rings: tuple[World, Aggregation, Twins]) -> None:
    world, fit, twins = rings
    effect, after = twins_effect(fit, twins, aggregator("bcc"), world.truth)
    assert effect.n_workers == 8 and effect.n_groups == 2
    assert after.votes.n_workers == 14 and effect.n_votes_after < effect.n_votes_before
    assert effect.log_loss_after < 0.7 * effect.log_loss_before
    assert effect.n_labels_changed == (fit.labels != after.labels).sum() > 0
    assert after.votes.items.equals(fit.votes.items)


def test_a_group_says_once_what_most_of_it_say() -> None:
    votes = Votes.from_codes(
        np.array([0, 0, 0, 0, 1, 1, 2, 3]), np.array([0, 1, 2, 3, 0, 1, 3, 2]),
        np.array([0, 1, 1, 0, 0, 1, 1, 0]),
    )  # fmt: skip
    fit = aggregator("majority").fit(votes)
    accuracy = replace(fit.worker_accuracy, mean=np.array([0.6, 0.9, 0.5, 0.5]))
    nobody = find_twins(fit, min_common=50)
    group = np.array([0, 0, 0, -1])
    once = merged(replace(fit, worker_accuracy=accuracy), replace(nobody, group=group))
    said = {(r["task"], r["worker"]): r["label"] for r in once.to_table().to_pylist()}
    assert said == {
        ("0", "0+1+2"): "1", ("0", "3"): "0", ("1", "0+1+2"): "1", ("2", "3"): "1",
        ("3", "0+1+2"): "0",
    }  # fmt: skip


def test_no_pair_is_no_trouble_and_bad_rates_are_refused(tiny: Votes) -> None:
    fit = aggregator("majority").fit(tiny)
    assert find_twins(fit).to_table().num_rows == 0
    assert find_twins(fit).groups() == []
    with pytest.raises(SettingsError, match="rate is 1.5"):
        find_twins(fit, rate=1.5)
    with pytest.raises(SettingsError, match="min_common is 0"):
        find_twins(fit, min_common=0)
