"""Scores against enumeration of tie-breaks, scikit-learn, and sums by hand."""

from itertools import permutations, product

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import metrics

from crowdlearn.aggregation import Aggregation, History, Interval
from crowdlearn.errors import VotesError
from crowdlearn.evaluation import accuracy
from crowdlearn.predictors import SharePredictor
from crowdlearn.votes import Votes


@pytest.fixture
def sample():
    rng = np.random.default_rng(3)
    posterior = rng.dirichlet(np.full(4, 0.7), 300)
    truth = rng.integers(-1, 4, 300)
    return posterior, truth


@pytest.fixture
def tied():
    """Shares of few votes: every kind of tie among three classes."""
    counts = np.array([c for c in product(range(3), repeat=3) if sum(c)])
    posterior = counts / counts.sum(axis=1, keepdims=True)
    return np.repeat(posterior, 3, axis=0), np.tile(np.arange(3), len(counts))


def test_error_is_the_mean_over_all_ways_to_break_ties(tied):
    posterior, truth = tied
    for row, t, found in zip(posterior, truth, accuracy.item_errors(posterior, truth), strict=True):
        orders = list(permutations(range(3)))  # the first of the largest in a random order wins
        wrong = [max(order, key=lambda c: (row[c], -order.index(c))) != t for order in orders]
        assert found == pytest.approx(np.mean(wrong))


@pytest.mark.parametrize(("gap", "expected"), [(0, 0.5), (5e-10, 0.5), (1e-6, 1.0)])
def test_ties_are_within_1e_9(gap, expected):
    posterior = np.array([[0.5 + gap / 2, 0.5 - gap / 2]])
    assert accuracy.error(posterior, np.array([1])) == expected


def test_log_loss_and_brier_are_those_of_scikit_learn(sample):
    posterior, truth = sample
    known = truth >= 0
    rows, codes = posterior[known], truth[known]
    log_loss = metrics.log_loss(codes, rows, labels=range(4))
    brier = metrics.brier_score_loss(codes, rows, labels=range(4), scale_by_half=False)
    assert accuracy.log_loss(posterior, truth) == pytest.approx(log_loss, abs=1e-12)
    assert accuracy.brier(posterior, truth) == pytest.approx(brier, abs=1e-12)
    assert accuracy.error(posterior, truth) == pytest.approx((rows.argmax(axis=1) != codes).mean())


def test_sure_and_wrong_costs_the_clipped_logarithm():
    posterior, truth = np.array([[1.0, 0.0]]), np.array([1])
    assert accuracy.log_loss(posterior, truth) == pytest.approx(15 * np.log(10))
    assert accuracy.brier(posterior, truth) == 2


@pytest.mark.parametrize("score", [accuracy.error, accuracy.log_loss, accuracy.brier])
def test_unknown_items_do_not_count_and_class_order_does_not_matter(sample, score):
    posterior, truth = sample
    order = np.array([2, 0, 3, 1])
    permuted = np.where(truth >= 0, np.argsort(order)[truth], -1)
    assert score(posterior[:, order], permuted) == pytest.approx(score(posterior, truth))
    known = truth >= 0
    assert score(posterior[known], truth[known]) == pytest.approx(score(posterior, truth))


def test_tables_of_labels_are_those_of_scikit_learn(sample):
    posterior, truth = sample
    labels, known = posterior.argmax(axis=1), truth >= 0
    labels[labels == 3] = 0  # a class that is never answered
    table = accuracy.per_class(labels, truth, ("a", "b", "c", "d"))
    expected = metrics.precision_recall_fscore_support(
        truth[known], labels[known], labels=range(4), zero_division=np.nan
    )
    for name, column in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        assert_allclose(table[name].to_numpy(), column)
    assert np.isnan(table["precision"].to_numpy()[3])
    assert_array_equal(
        accuracy.confusion_of_labels(labels, truth, 4),
        metrics.confusion_matrix(truth[known], labels[known], labels=range(4)),
    )
    assert accuracy.label_error(labels, truth) == pytest.approx(
        metrics.zero_one_loss(truth[known], labels[known])
    )


@pytest.fixture
def fit():
    """Worker 0 is right 2 of 3 times on known items, worker 1 1 of 1; worker 2 has none."""
    votes = Votes.from_codes(
        np.array([0, 1, 2, 0, 3, 3]),
        np.array([0, 0, 0, 1, 1, 2]),
        np.array([0, 1, 0, 0, 1, 1]),
        items=4,
    )
    estimate = Interval(
        mean=np.array([0.9, 0.8, 0.1]),
        low=np.array([0.7, 0.6, 0.0]),
        high=np.array([1.0, 1.0, 0.2]),
    )
    return Aggregation(
        method="majority",
        settings={},
        votes=votes,
        posterior=votes.shares(),
        labels=votes.shares().argmax(axis=1),
        prior=np.full(2, 0.5),
        confusion=np.full((3, 2, 2), 0.5),
        worker_accuracy=estimate,
        history=History(np.zeros(0), np.zeros(0), "none", converged=True),
        predictor=SharePredictor(np.ones(3)),
        gold=np.full(4, -1),
        seconds=0.0,
    )


def test_worker_accuracy_error_by_hand(fit):
    truth = np.array([0, 1, 1, -1])
    share, n_known = accuracy.worker_accuracy(fit.votes, truth)
    assert_allclose(share, [2 / 3, 1, np.nan])
    assert_array_equal(n_known, [3, 1, 0])
    found = accuracy.worker_accuracy_error(fit, fit.votes, truth)
    assert found.mean_absolute == pytest.approx((3 * (0.9 - 2 / 3) + 1 * 0.2) / 4)
    assert found.coverage == pytest.approx(1 / 4)  # worker 0 (3 votes) is not covered
    assert (found.n_workers, found.n_votes, found.level) == (2, 4, 0.9)


def test_worker_accuracy_error_refuses_what_it_cannot_compare(fit):
    with pytest.raises(VotesError, match="no vote is on an item of known truth"):
        accuracy.worker_accuracy_error(fit, fit.votes, np.full(4, -1))
    fewer = fit.votes.only_workers(np.array([True, True, False]))
    with pytest.raises(VotesError, match="2 workers, the fit 3"):
        accuracy.worker_accuracy_error(fit, fewer, np.zeros(4, dtype=int))
    with pytest.raises(VotesError, match="truth has 3 entries"):
        accuracy.worker_accuracy(fit.votes, np.zeros(3, dtype=int))


@pytest.mark.parametrize(
    ("posterior", "truth", "message"),
    [
        ([[0.5, 0.5]], [-1], "no item has a known truth"),
        ([[0.5, 0.5], [0.5, 0.5]], [0, 2], "truth of item 1 is class 2"),
        ([[0.5, 0.5], [np.nan, 0.5]], [-1, 0], "posterior of item 1 is nan"),
    ],
)
def test_unusable_truth_is_refused(posterior, truth, message):
    with pytest.raises(VotesError, match=message):
        accuracy.error(np.array(posterior), np.array(truth))
    if -1 in truth and len(truth) == 1:
        with pytest.raises(VotesError, match=message):
            accuracy.label_error(np.array([0]), np.array(truth))
