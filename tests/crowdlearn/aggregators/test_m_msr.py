from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from crowdlearn.aggregators import aggregator
from crowdlearn.aggregators.m_msr import Pairs, agreements, filtered, signs
from crowdlearn.evaluation import error
from crowdlearn.votes import Votes

Shared = Callable[[str], tuple[Votes, np.ndarray]]
NOBODY = np.full(3, -1, dtype=np.int32)


def all_pairs(product: np.ndarray) -> Pairs:
    """Pairs of every worker with every other, and of a last worker with none (no gold)."""
    n = len(product)
    other = np.array([[x for x in range(n) if x != w] for w in range(n)], dtype=np.int32)
    offsets = np.append(np.arange(n + 1) * (n - 1), n * (n - 1)).astype(np.int32)
    values = np.take_along_axis(product, other.astype(np.int64), axis=1).ravel()
    return Pairs(offsets, other.ravel(), np.full(len(values), 5.0), values)


def settled(pairs: Pairs, n_sweeps: int = 500) -> np.ndarray:
    size = np.ones(len(pairs.offsets) - 1)
    for _ in range(n_sweeps):
        right = filtered(pairs, size, size)
        size = np.minimum(np.sqrt(filtered(pairs, right, size) * right), 1.0)
    return size


def test_pairs_by_hand(tiny: Votes) -> None:
    """Workers 0 and 1 share three items and agree on two; worker 2 voted twice on item 0."""
    pairs = agreements(tiny, NOBODY)
    assert_array_equal(np.diff(pairs.offsets), [2, 2, 2, 0])
    assert_array_equal(pairs.other, [1, 2, 0, 2, 0, 1])
    assert_array_equal(pairs.common, [3, 3, 3, 3, 3, 3])
    assert_allclose(pairs.product, np.array([2, 2, 2, 1, 2, 1]) / 3 * 2 - 1)


def test_gold_answers_are_one_more_worker(tiny: Votes) -> None:
    pairs = agreements(tiny, np.array([0, -1, 1], dtype=np.int32))
    row = slice(pairs.offsets[3], pairs.offsets[4])
    assert_array_equal(pairs.other[row], [0, 1, 2])
    assert_array_equal(pairs.common[row], [2, 2, 2])
    assert_allclose(pairs.product[row], [1, 1, 0])


def test_pairs_that_never_agree_stay() -> None:
    votes = Votes.from_codes(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), np.array([0, 1, 2, 0]))
    assert_allclose(agreements(votes, NOBODY[:2]).product, [-0.5, -0.5])


def test_a_rank_one_matrix_is_recovered_with_its_signs() -> None:
    skill = np.array([0.9, 0.2, -0.4, 0.7, 0.5, -0.1, 0.8, 0.3])
    pairs = all_pairs(np.outer(skill, skill))
    assert_allclose(settled(pairs)[:-1], np.abs(skill), atol=1e-6)
    assert_array_equal(signs(pairs, anchored=False)[:-1], np.sign(skill))


def test_corrupted_entries_are_filtered_out() -> None:
    """Three of fifteen workers answer as they like: the skills of the others come out exactly."""
    rng = np.random.default_rng(0)
    skill = rng.uniform(0.2, 0.9, 15)
    product = np.outer(skill, skill)
    product[:3] = rng.uniform(-1, 1, (3, 15))
    product[:, :3] = product[:3].T
    assert_allclose(settled(all_pairs(product))[3:-1], skill[3:], atol=1e-5)


def test_workers_who_answer_wrongly_on_purpose_are_turned_round() -> None:
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 3, 400)
    item, worker = (a.ravel() for a in np.meshgrid(np.arange(400), np.arange(13), indexing="ij"))
    right = np.where(worker < 4, 0.05, 0.7)
    wrong = (truth[item] + rng.integers(1, 3, len(item))) % 3
    label = np.where(rng.random(len(item)) < right, truth[item], wrong)
    votes = Votes.from_codes(item, worker, label)
    fit = aggregator("m-msr").fit(votes)
    assert (fit.labels == truth).mean() > 0.97
    assert (fit.labels == truth).mean() > (aggregator("majority").fit(votes).labels == truth).mean()
    assert_allclose(fit.confusion[:, 0, 0], [0.05] * 4 + [0.7] * 9, atol=0.1)


@pytest.mark.filterwarnings("ignore::crowdlearn.errors.ConvergenceWarning")
@pytest.mark.parametrize(
    ("name", "expected"), [("bluebird", 0.2870), ("face", 0.3699), ("cifar10n", 0.0870)]
)
def test_dense_sets_give_the_errors_of_another_program(
    shared: Shared, name: str, expected: float
) -> None:
    """crowd-kit 1.4.2 in benchmarks/results/accuracy.md; with all pairs at hand F is the same."""
    votes, truth = shared(name)
    assert abs(error(aggregator("m-msr").fit(votes).posterior, truth) - expected) < 5.1e-5


@pytest.mark.filterwarnings("ignore::crowdlearn.errors.ConvergenceWarning")
def test_workers_with_few_pairs_do_not_break_it(shared: Shared) -> None:
    votes, truth = shared("product")
    fit = aggregator("m-msr").fit(votes)
    assert np.isfinite(fit.posterior).all() and np.isfinite(fit.worker_accuracy.mean).all()
    assert error(fit.posterior, truth) < error(aggregator("majority").fit(votes).posterior, truth)
