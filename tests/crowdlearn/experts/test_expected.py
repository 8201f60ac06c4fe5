"""Expected gains against enumeration, a second code, and their laws."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import gammaln
from scipy.stats import spearmanr

from crowdlearn.aggregators import aggregator
from crowdlearn.errors import SettingsError
from crowdlearn.experts import (
    Belief,
    entropy,
    expected_error_reduction,
    expected_information_gain,
    expert_confusion,
    least_confident,
)
from crowdlearn.simulate import dawid_skene, fixed_per_item
from crowdlearn.votes import Votes

GAINS = {"error": expected_error_reduction, "information": expected_information_gain}


def belief_of(n_items: int, n_workers: int, n_classes: int, seed: int) -> Belief:
    world = dawid_skene(n_items, n_workers, n_classes, seed=seed)
    return Belief.of_fit(aggregator("bcc").fit(world.votes))


def doubt(rows: np.ndarray, kind: str) -> np.ndarray:
    return least_confident(rows) if kind == "error" else entropy(rows)


def by_loops(belief: Belief, expert: np.ndarray, kind: str) -> np.ndarray:
    """The same definition, array by array: every item's posterior after every answer."""
    tau, votes = belief.posterior, belief.votes
    item, gain = votes.item, np.zeros(votes.n_items)
    for i in range(votes.n_items):
        chance = tau[i] @ expert
        after = []
        for y in np.flatnonzero(chance > 0):
            own = tau[i] * expert[:, y] / chance[y]
            counts = belief.counts.copy()
            for v in np.flatnonzero(item == i):
                counts[votes.worker[v], :, votes.label[v]] += own - tau[i]
            logs = np.log(counts / counts.sum(axis=2, keepdims=True))
            logs -= np.log(belief.counts / belief.counts.sum(axis=2, keepdims=True))
            moved = np.zeros_like(tau)
            np.add.at(moved, item, logs[votes.worker, :, votes.label])
            new = tau * np.exp(moved)
            new /= new.sum(axis=1, keepdims=True)
            new[i] = own
            after.append(chance[y] * np.stack([new, np.zeros_like(new)])[0])
        weights = chance[chance > 0]
        mean = np.sum(after, axis=0)
        expected = sum(w * doubt(rows / w, kind) for w, rows in zip(weights, after, strict=True))
        gain[i] = np.maximum(doubt(mean, kind) - expected, 0).sum()
    return gain


@pytest.mark.parametrize("kind", GAINS)
@pytest.mark.parametrize("accuracy", [1.0, 0.8])
def test_two_codes_agree(kind: str, accuracy: float) -> None:
    belief = belief_of(25, 5, 3, seed=4)
    expert = expert_confusion(accuracy, 3)
    once = all(len(np.unique(belief.votes.worker[belief.votes.votes_of(i)])) ==
               belief.votes.votes_per_item[i] for i in range(25))  # fmt: skip
    assert once  # a worker who votes twice on an item moves twice in the loops alone
    found = GAINS[kind](belief, expert=expert)
    assert_allclose(found, by_loops(belief, expert, kind), atol=1e-10)


def enumerated(votes: Votes, diagonal: float) -> tuple[np.ndarray, np.ndarray]:
    """All truths of a tiny world, and their exact posterior probabilities under BCC."""
    n, k = votes.n_items, votes.n_classes
    truths = np.array(list(product(range(k), repeat=n)))
    alpha, item = 1 + (diagonal - 1) * np.eye(k), votes.item
    logs = np.zeros(len(truths))
    for row, truth in enumerate(truths):
        logs[row] = gammaln(np.bincount(truth, minlength=k) + 1.0).sum()
        counts = np.zeros((votes.n_workers, k, k))
        np.add.at(counts, (votes.worker, truth[item], votes.label), 1.0)
        counts += alpha
        logs[row] += gammaln(counts).sum() - gammaln(counts.sum(axis=2)).sum()
    weight = np.exp(logs - logs.max())
    return truths, weight / weight.sum()


def marginals(truths: np.ndarray, weight: np.ndarray, k: int) -> np.ndarray:
    return np.stack([((truths == c) * weight[:, None]).sum(axis=0) for c in range(k)], axis=1)


def exact_gain(truths: np.ndarray, weight: np.ndarray, k: int, kind: str) -> np.ndarray:
    before = doubt(marginals(truths, weight, k), kind).sum()
    gain = np.zeros(truths.shape[1])
    for i in range(truths.shape[1]):
        after = 0.0
        for y in range(k):
            chosen = weight * (truths[:, i] == y)
            if chosen.sum() > 0:
                rows = marginals(truths, chosen / chosen.sum(), k)
                after += chosen.sum() * doubt(rows, kind).sum()
        gain[i] = before - after
    return gain


@pytest.mark.parametrize("kind", GAINS)
def test_ranks_items_as_exact_enumeration_does(kind: str) -> None:
    """Gains leave second-order effects out: given the exact belief they fall short, in order."""
    found, own, totals = [], [], []
    for seed in range(12):
        votes = dawid_skene(9, 4, 2, assign=fixed_per_item(3), seed=seed).votes
        truths, weight = enumerated(votes, 8.0)
        posterior = marginals(truths, weight, 2)
        counts = np.zeros((votes.n_workers, 2, 2))
        np.add.at(counts.transpose(0, 2, 1), (votes.worker, votes.label), posterior[votes.item])
        belief = Belief(posterior, counts + 1 + 7 * np.eye(2), votes)
        exact, gain = exact_gain(truths, weight, 2, kind), GAINS[kind](belief)
        found.append(spearmanr(gain, exact).statistic)
        own.append(spearmanr(doubt(posterior, kind), exact).statistic)
        totals.append([doubt(posterior, kind).sum(), gain.sum(), exact.sum()])
    assert np.mean(found) > 0.95 and np.mean(found) >= np.mean(own)
    before, with_others, all_effects = np.mean(totals, axis=0)
    assert before < with_others < all_effects


@pytest.mark.parametrize("kind", GAINS)
def test_items_that_share_no_worker_count_for_themselves(kind: str) -> None:
    label = np.array([0, 1, 1, 0])
    votes = Votes.from_codes(np.arange(4), np.arange(4), label)
    posterior = np.array([[0.7, 0.3], [0.4, 0.6], [0.5, 0.5], [1.0, 0.0]])
    belief = Belief(posterior, np.ones((4, 2, 2)) + np.eye(2), votes)
    assert_allclose(GAINS[kind](belief), doubt(posterior, kind), atol=1e-12)


@pytest.mark.parametrize("kind", GAINS)
def test_an_answer_never_hurts_and_a_worse_expert_gives_less(kind: str) -> None:
    belief = belief_of(60, 8, 3, seed=1)
    perfect = GAINS[kind](belief)
    assert (perfect >= doubt(belief.posterior, kind) - 1e-12).all()
    fair = GAINS[kind](belief, expert=expert_confusion(0.9, 3))
    useless = GAINS[kind](belief, expert=np.full((3, 3), 1 / 3))
    assert (useless <= 1e-9).all() and fair.sum() < perfect.sum()


def test_of_two_equally_unsure_items_the_one_with_busy_workers_teaches_more() -> None:
    rng = np.random.default_rng(0)
    busy = np.repeat(np.arange(40), 2)
    item = np.concatenate([busy, [40, 40, 41, 41]])
    worker = np.concatenate([np.tile([0, 1], 40), [0, 1, 2, 3]])
    label = np.concatenate([rng.integers(0, 2, 80), [0, 1, 0, 1]])
    votes = Votes.from_codes(item, worker, label)
    posterior = np.full((42, 2), 0.5)
    belief = Belief(posterior, np.ones((4, 2, 2)) + np.eye(2), votes)
    gain = expected_information_gain(belief)
    assert gain[40] > gain[41] == pytest.approx(np.log(2))


def test_caps_leave_the_own_gain() -> None:
    belief = belief_of(60, 8, 3, seed=1)
    none = expected_information_gain(belief, most_items=0)
    assert_allclose(none, entropy(belief.posterior), atol=1e-12)
    full, thin = expected_information_gain(belief), expected_information_gain(belief, most_votes=20)
    assert spearmanr(full, thin).statistic > 0.9


@pytest.mark.parametrize(
    ("expert", "match"),
    [(np.eye(2), r"\(2, 2\), where 3 classes"), (np.ones((3, 3)), "must sum to 1")],
)
def test_what_is_no_expert_is_refused(expert: np.ndarray, match: str) -> None:
    with pytest.raises(SettingsError, match=match):
        expected_information_gain(belief_of(10, 5, 3, seed=0), expert=expert)
