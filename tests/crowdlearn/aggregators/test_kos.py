from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_allclose

from crowdlearn.aggregators import aggregator
from crowdlearn.aggregators.kos import exchange, log_odds
from crowdlearn.errors import ConvergenceWarning, VotesError
from crowdlearn.evaluation import error
from crowdlearn.votes import Votes

Shared = Callable[[str], tuple[Votes, np.ndarray]]


def by_definition(votes: Votes, words: np.ndarray, gold: np.ndarray) -> np.ndarray:
    """One round of messages, edge by edge as in the paper."""
    item, worker, sign = votes.item, votes.worker, 2.0 * votes.label - 1
    edges = range(votes.n_votes)
    answers = np.zeros(votes.n_votes)
    for e in edges:
        if gold[item[e]] >= 0:
            answers[e] = (2 * gold[item[e]] - 1) * votes.votes_per_item[item[e]]
        else:
            answers[e] = sum(sign[f] * words[f] for f in edges if f != e and item[f] == item[e])
    return np.array(
        [
            sum(sign[f] * answers[f] for f in edges if f != e and worker[f] == worker[e])
            for e in edges
        ]
    )


@pytest.fixture
def graph() -> Votes:
    rng = np.random.default_rng(3)
    item, worker = rng.integers(0, 9, 40), rng.integers(0, 6, 40)
    return Votes.from_codes(item, worker, rng.integers(0, 2, 40), items=10, workers=6)


def test_a_round_is_the_one_defined(graph: Votes) -> None:
    rng = np.random.default_rng(0)
    gold = np.where(np.arange(10) == 2, 1, -1).astype(np.int32)
    words = rng.normal(1, 1, graph.n_votes)
    said, totals = exchange(graph, 2.0 * graph.label - 1, words, gold)
    assert_allclose(said, by_definition(graph, words, gold), atol=1e-12)
    assert totals.shape == (6,)


def test_answers_are_those_of_the_unscaled_messages(graph: Votes) -> None:
    nobody = np.full(10, -1, dtype=np.int32)
    words = np.random.default_rng(5).normal(1.0, 1.0, graph.n_votes)
    for _ in range(4):
        words = by_definition(graph, words, nobody)
    sign = 2.0 * graph.label - 1
    sums = np.bincount(graph.item, sign * words, minlength=10)
    fit = aggregator("kos", n_rounds=4, seed=5).fit(graph)
    odds = np.log(fit.posterior[:, 1] / fit.posterior[:, 0])
    assert_allclose(odds / odds[0], sums / sums[0], atol=1e-9)
    assert_allclose(odds, log_odds(graph, sign, words), rtol=1e-9, atol=1e-12)
    assert fit.posterior[9, 0] == 0.5  # no votes


@pytest.mark.filterwarnings("ignore::crowdlearn.errors.ConvergenceWarning")
def test_swapping_the_classes_swaps_the_posterior(graph: Votes) -> None:
    swapped = Votes.from_codes(
        graph.item, graph.worker, 1 - graph.label, items=10, workers=6, classes=2
    )
    here, there = (aggregator("kos", seed=2).fit(v).posterior for v in (graph, swapped))
    assert_allclose(there[:, ::-1], here, atol=1e-12)


def test_the_scale_is_that_of_reliabilities() -> None:
    """Many workers, all on every item: messages over their scale come to 2 p - 1."""
    rng = np.random.default_rng(1)
    right = np.linspace(0.4, 0.8, 40)
    truth = rng.integers(0, 2, 2000)
    item, worker = (a.ravel() for a in np.meshgrid(np.arange(2000), np.arange(40), indexing="ij"))
    label = np.where(rng.random(80000) < right[worker], truth[item], 1 - truth[item])
    fit = aggregator("kos").fit(Votes.from_codes(item, worker, label))
    said = np.log(fit.confusion[:, 0, 0] / fit.confusion[:, 1, 0]) / 2  # confusion is symmetric
    assert_allclose(said, 2 * right - 1, atol=0.1)


def test_more_classes_are_refused() -> None:
    votes = Votes.from_codes(np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([0, 1, 2]))
    with pytest.raises(VotesError, match="kos is for two classes, and these votes have 3"):
        aggregator("kos").fit(votes)


def test_messages_that_die_out_are_told_of() -> None:
    """A tree: after some rounds nothing is left to pass on."""
    votes = Votes.from_codes(np.array([0, 0, 1]), np.array([0, 1, 1]), np.array([0, 0, 1]))
    with pytest.warns(ConvergenceWarning, match="messages died out in round"):
        fit = aggregator("kos").fit(votes)
    assert np.isfinite(fit.posterior).all()


@pytest.mark.parametrize(
    ("name", "expected"), [("bluebird", 0.2778), ("flowers", 0.155), ("rte", 0.4988)]
)
def test_known_rows_are_reproduced(shared: Shared, name: str, expected: float) -> None:
    """Among them its failure on rte, whose blocks lead the power iteration astray."""
    votes, truth = shared(name)
    found = error(aggregator("kos").fit(votes).posterior, truth)
    assert abs(found - expected) < 1.5 / (truth >= 0).sum()
