from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import betaln, logsumexp

from crowdlearn.aggregators import aggregator
from crowdlearn.aggregators.mace import (
    Habits,
    accuracy,
    random_habits,
    shared_habits,
    votes_per_label,
)
from crowdlearn.evaluation import error
from crowdlearn.gold import gold_codes
from crowdlearn.sweeps import sweeper
from crowdlearn.votes import Votes
from tests.crowdlearn.aggregators.oracles import exact_truths, log_dirichlet_multinomial
from tests.crowdlearn.aggregators.test_idbla import web_of_76_workers

Shared = Callable[[str], tuple[Votes, np.ndarray]]


def mace_log_joint(
    votes: Votes, honest: float, spam: float, guess_count: float
) -> Callable[[np.ndarray], float]:
    """log p(votes, truths), summing over who spammed when, honesty and guesses integrated out."""
    n_classes = votes.n_classes

    def log_joint(truth: np.ndarray) -> float:
        logs = []
        for spams in itertools.product((0, 1), repeat=votes.n_votes):
            spammed = np.array(spams)
            if (votes.label != truth[votes.item])[spammed == 0].any():
                continue
            counts = np.zeros((votes.n_workers, n_classes))
            np.add.at(counts, (votes.worker, votes.label), spammed)
            n_spam = counts.sum(axis=1)
            trust = betaln(honest + votes.votes_per_worker - n_spam, spam + n_spam)
            guess = log_dirichlet_multinomial(counts, np.full(n_classes, guess_count))
            logs.append((trust - betaln(honest, spam)).sum() + guess)
        return float(logsumexp(logs)) - votes.n_items * np.log(n_classes)

    return log_joint


def test_the_bound_is_below_the_enumerated_evidence(tiny: Votes) -> None:
    _, log_evidence = exact_truths(tiny, mace_log_joint(tiny, 0.5, 0.5, 10.0), 2)
    fit = aggregator("mace", tolerance=1e-10).fit(tiny)
    assert log_evidence - 2.0 < fit.history.bound[-1] < log_evidence


def test_a_sharp_prior_leaves_nothing_to_approximate(tiny: Votes) -> None:
    """With honesty and guesses all but known, mean field is exact."""
    sharp = {"honest": 3e6, "spam": 1e6, "guess_count": 1e6}
    posterior, log_evidence = exact_truths(tiny, mace_log_joint(tiny, **sharp), 2)
    fit = aggregator("mace", tolerance=1e-12, **sharp).fit(tiny)
    assert_allclose(fit.posterior, posterior, atol=1e-4)
    assert_allclose(fit.history.bound[-1], log_evidence, atol=1e-4)


def test_accuracy_has_the_moments_of_its_draws() -> None:
    rng = np.random.default_rng(0)
    honesty, guess = np.array([[3.0, 2.0]]), np.array([[4.0, 1.0, 2.0]])
    prior = np.array([0.2, 0.3, 0.5])
    theta = rng.beta(3, 2, 400_000)
    draws = theta + (1 - theta) * (rng.dirichlet(guess[0], 400_000) @ prior)
    found = accuracy(honesty, guess, prior)
    assert_allclose(found.mean, draws.mean(), atol=0.002)
    assert_allclose([found.low[0], found.high[0]], np.quantile(draws, [0.05, 0.95]), atol=0.03)


def test_honest_votes_and_spam_are_told_apart() -> None:
    """Half of the workers know; the others say 0 nine times in ten, whatever the item."""
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, 300)
    item, worker = (a.ravel() for a in np.indices((300, 10)))
    habit = rng.choice(3, p=[0.9, 0.05, 0.05], size=3000)
    label = np.where(worker < 5, truth[item], habit)
    fit = aggregator("mace").fit(Votes.from_codes(item, worker, label))
    assert (fit.labels == truth).all()
    assert fit.worker_accuracy.low[:5].min() > 0.95
    assert_allclose(fit.worker_accuracy.mean[5:], 1 / 3, atol=0.05)
    assert_allclose(fit.confusion[5:, 1], np.tile([0.9, 0.05, 0.05], (5, 1)), atol=0.08)


def test_restarts_are_not_one_restart(world: tuple[Votes, np.ndarray]) -> None:
    home, said = sweeper(world[0], gold_codes(world[0], None)), votes_per_label(world[0])
    first: list[Habits] = [
        random_habits(home, said, np.random.default_rng([0, restart])) for restart in (1, 2)
    ]
    assert np.abs(first[0].honesty - first[1].honesty).max() > 0.1
    for habits in (*first, shared_habits(home, world[0].shares(), said)):
        assert_allclose(habits.honesty.sum(axis=1), world[0].votes_per_worker)
        assert_allclose(habits.guess.sum(axis=1), habits.honesty[:, 1])


def test_more_restarts_never_lower_the_best_bound() -> None:
    """Workers with few votes are honest or not in several optima; who finds which is drawn."""
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 2, 40)
    item, worker = np.repeat(np.arange(40), 3), rng.integers(0, 30, 120)
    label = np.where(rng.random(120) < 0.8, truth[item], 1 - truth[item])
    votes = Votes.from_codes(item, worker, label, workers=30)
    bounds = [aggregator("mace", n_restarts=n).fit(votes).history.bound[-1] for n in (1, 2, 4)]
    assert bounds[0] <= bounds[1] <= bounds[2]
    assert bounds[0] < bounds[2] - 0.1
    other = aggregator("mace", n_restarts=4, seed=1).fit(votes).history.bound[-1]
    assert abs(other - bounds[2]) > 0.1


@pytest.mark.parametrize(
    ("name", "published"),
    [("rte", 7.38), ("bluebird", 13.89), ("dog", 16.98), ("flowers", 13.0)],
)
def test_the_rows_of_an_independent_program(name: str, published: float, shared: Shared) -> None:
    """Error rates in per cent of another implementation, by variational Bayes."""
    votes, truth = shared(name)
    assert abs(100 * error(aggregator("mace").fit(votes).posterior, truth) - published) < 0.05


def test_the_web_row_of_an_independent_program(shared: Shared) -> None:
    votes, truth = web_of_76_workers(*shared("web"))
    assert abs(100 * error(aggregator("mace").fit(votes).posterior, truth) - 15.23) < 0.1
