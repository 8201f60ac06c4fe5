"""What stands out is what a plain loop over everything would find."""

from dataclasses import replace

import numpy as np
import pytest

from crowdlearn import highlights
from crowdlearn.aggregators import aggregator
from crowdlearn.errors import VotesError
from crowdlearn.evaluation import error, log_loss
from crowdlearn.votes import Votes


@pytest.fixture(scope="module")
def fit(world):
    return aggregator("dawid-skene").fit(world[0])


def test_contested_are_the_least_certain(fit):
    everything = sorted(
        range(fit.votes.n_items),
        key=lambda i: (fit.confidence[i], -fit.votes.votes_per_item[i], i),
    )
    for n in (1, 7, 120, 500):
        assert highlights.contested(fit, n).tolist() == everything[:n]


def test_gold_items_are_not_contested(world):
    votes, truth = world
    gold = np.where(np.arange(votes.n_items) < 100, truth, -1)
    fit = aggregator("dawid-skene").fit(votes, gold=gold)
    assert set(highlights.contested(fit, 50)) == set(range(100, 120))
    assert "100 items had a gold answer, which was kept." in highlights.in_words(fit)


def test_items_without_votes_are_not_contested():
    votes = Votes.from_codes(np.array([0, 0]), np.array([0, 1]), np.array([0, 1]), items=3)
    fit = aggregator("majority").fit(votes)
    assert highlights.contested(fit, 3).tolist() == [0]


def test_all_workers_are_shown_by_accuracy_where_they_fit(fit):
    shown = highlights.extreme_workers(fit, 12)
    assert shown.tolist() == np.argsort(-fit.worker_accuracy.mean).tolist()


def test_both_ends_are_shown_where_workers_do_not_fit(fit):
    accuracy = fit.worker_accuracy
    shown = set(highlights.extreme_workers(fit, 5).tolist())
    best = set(np.argsort(-accuracy.low)[:3].tolist())
    rest = [w for w in np.argsort(accuracy.high).tolist() if w not in best]
    assert shown == best | set(rest[:2])


def test_against_majority_counts_labels_that_most_did_not_say(fit):
    counts = fit.votes.counts()
    by_loop = sum(counts[i, k] < counts[i].max() for i, k in enumerate(fit.labels))
    assert highlights.against_majority(fit) == by_loop
    assert highlights.against_majority(aggregator("majority").fit(fit.votes)) == 0


def test_against_majority_does_not_depend_on_the_chunk(fit, monkeypatch):
    expected = highlights.against_majority(fit)
    monkeypatch.setattr(highlights, "CHUNK", 7)
    assert highlights.against_majority(fit) == expected


def test_pooled_confusion_is_the_average_over_votes(fit):
    per_vote = fit.confusion[fit.votes.worker].mean(axis=0)
    np.testing.assert_allclose(highlights.pooled_confusion(fit), per_vote)


def test_scores_are_those_of_the_evaluation(fit, world):
    found = highlights.scores(fit, world[1])
    assert found["n_truth"] == 120
    assert found["error"] == error(fit.posterior, world[1])
    assert found["log_loss"] == log_loss(fit.posterior, world[1])
    assert found["majority_error"] == error(fit.votes.shares(), world[1])


def test_scores_leave_out_gold_items(world):
    votes, truth = world
    gold = np.where(np.arange(120) < 60, truth, -1)
    fit = aggregator("dawid-skene").fit(votes, gold=gold)
    found = highlights.scores(fit, truth)
    assert found["n_truth"] == 60
    assert found["error"] == error(fit.posterior[60:], truth[60:])
    with pytest.raises(VotesError, match="all of them are gold items"):
        highlights.scores(aggregator("majority").fit(votes, gold=truth), truth)


@pytest.mark.parametrize(
    ("converged", "stopped", "words"),
    [
        (True, False, "settled after"),
        (False, True, "was stopped"),
        (False, False, "did not settle"),
    ],
)
def test_how_it_ended_says_so(fit, converged, stopped, words):
    history = replace(fit.history, converged=converged, stopped=stopped)
    assert words in highlights.how_it_ended(replace(fit, history=history))


def test_counting_words():
    assert highlights.counted(1, "item") == "1 item"
    assert highlights.counted(0, "item") == "0 items"
    assert highlights.counted(2000, "item") == "2,000 items"
