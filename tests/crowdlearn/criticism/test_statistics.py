"""Statistics of votes are what they are called."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from crowdlearn.criticism import statistics
from crowdlearn.criticism.statistics import STATISTICS, Statistic
from crowdlearn.evaluation import cohen_kappas, krippendorff_alpha, percent_agreement
from crowdlearn.votes import Votes


def taken(name: str, votes: Votes) -> dict[str, float]:
    """Entry -> value of a statistic of the votes themselves."""
    statistic: Statistic = STATISTICS[name](votes)
    return dict(zip(statistic.entries, statistic.of(votes.label), strict=True))


def test_agreement_and_alpha_are_those_of_evaluation(world: tuple[Votes, np.ndarray]) -> None:
    votes, _ = world
    assert taken("agreement", votes)["all items"] == pytest.approx(percent_agreement(votes))
    alpha = krippendorff_alpha(votes, n_resamples=1).alpha
    assert taken("alpha", votes)["all items"] == pytest.approx(alpha)


def test_alpha_of_votes_that_all_say_the_same_is_one(tiny: Votes) -> None:
    assert STATISTICS["alpha"](tiny).of(np.zeros(9, dtype=int)) == 1


def test_unanimous_counts_items_by_hand(tiny: Votes) -> None:
    assert taken("unanimous", tiny)["all items"] == pytest.approx(1 / 3)


def test_shares_of_classes_and_of_workers(world: tuple[Votes, np.ndarray]) -> None:
    votes, _ = world
    assert taken("class-share", votes)["1"] == pytest.approx((votes.label == 1).mean())
    of_seven = votes.label[votes.worker == 7]
    assert taken("worker-labels", votes)["7 says 2"] == pytest.approx((of_seven == 2).mean())


def test_worker_agreement_is_with_each_other_vote(world: tuple[Votes, np.ndarray]) -> None:
    votes, _ = world
    same = pairs = 0
    for v in np.flatnonzero(votes.worker == 4):
        others = np.delete(np.arange(votes.n_votes), v)
        others = others[votes.item[others] == votes.item[v]]
        same, pairs = same + (votes.label[others] == votes.label[v]).sum(), pairs + len(others)
    assert taken("worker-agreement", votes)["4"] == pytest.approx(same / pairs)


def test_worker_confusion_is_against_the_most_frequent_class(
    world: tuple[Votes, np.ndarray],
) -> None:
    votes, _ = world
    most = votes.counts().argmax(axis=1)[votes.item]
    mine = votes.worker == 3
    expected = ((votes.label == 1) & (most == 2))[mine].mean()
    assert taken("worker-confusion", votes)["3 says 1, most say 2"] == pytest.approx(expected)


def test_pair_agreement_is_that_of_the_pairs_table(world: tuple[Votes, np.ndarray]) -> None:
    votes, _ = world
    found, table = taken("pair-agreement", votes), cohen_kappas(votes, min_common=10)
    expected = {
        " and ".join(sorted((row["worker_a"], row["worker_b"]), key=int)): row["agreement"]
        for row in table.to_pylist()
    }
    assert expected and set(found) == set(expected)
    assert_allclose([found[name] for name in expected], list(expected.values()))


def test_workers_with_few_votes_have_no_entry(tiny: Votes) -> None:
    assert taken("worker-labels", tiny) == taken("pair-agreement", tiny) == {}


def test_the_busiest_are_kept_where_there_are_too_many(
    world: tuple[Votes, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "MAX_ENTRIES", 6)
    votes, _ = world
    kept = {name.split()[0] for name in STATISTICS["worker-labels"](votes).entries}
    busiest = np.argsort(-votes.votes_per_worker, kind="stable")[:2]
    assert kept == {str(w) for w in busiest}
