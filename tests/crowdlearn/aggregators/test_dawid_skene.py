from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_allclose

from crowdlearn.aggregators import aggregator
from crowdlearn.inference.starts import hard_majority, random_dirichlet
from crowdlearn.votes import Votes


def e_step(votes: Votes, prior: np.ndarray, confusion: np.ndarray) -> tuple[np.ndarray, float]:
    """Equation 2.5 item by item, and the log likelihood, in plain loops."""
    posterior = np.zeros((votes.n_items, votes.n_classes))
    log_likelihood = 0.0
    for i in range(votes.n_items):
        for k in range(votes.n_classes):
            here = votes.votes_of(i)
            chances = [
                confusion[w, k, c]
                for w, c in zip(votes.worker[here], votes.label[here], strict=True)
            ]
            posterior[i, k] = prior[k] * np.prod(chances)
        log_likelihood += np.log(posterior[i].sum())
        posterior[i] /= posterior[i].sum()
    return posterior, log_likelihood


@pytest.mark.parametrize("name", ["dawid-skene", "one-coin"])
def test_the_posterior_is_the_e_step_of_the_reported_parameters(
    name: str, world: tuple[Votes, np.ndarray]
) -> None:
    votes, _ = world
    fit = aggregator(name, pseudocount=0.0).fit(votes)
    posterior, log_likelihood = e_step(votes, fit.prior, fit.confusion)
    assert_allclose(fit.posterior, posterior, atol=1e-9)
    assert_allclose(fit.history.bound[-1], log_likelihood, rtol=1e-10)


def test_the_parameters_are_a_fixed_point_of_the_m_step(world: tuple[Votes, np.ndarray]) -> None:
    votes, _ = world
    fit = aggregator("dawid-skene", pseudocount=0.5, tolerance=1e-12, max_sweeps=5000).fit(votes)
    assert_allclose(fit.prior, fit.posterior.mean(axis=0), atol=1e-9)
    counts = np.full_like(fit.confusion, 0.5)
    np.add.at(counts.transpose(0, 2, 1), (votes.worker, votes.label), fit.posterior[votes.item])
    assert_allclose(fit.confusion, counts / counts.sum(axis=2, keepdims=True), atol=1e-9)


def test_one_coin_is_dawid_skene_with_tied_rows(world: tuple[Votes, np.ndarray]) -> None:
    votes, _ = world
    fit = aggregator("one-coin", pseudocount=0.0, tolerance=1e-12, max_sweeps=5000).fit(votes)
    right = np.bincount(votes.worker, fit.posterior[votes.item, votes.label])
    ability = right / votes.votes_per_worker
    assert_allclose(np.einsum("wkk->wk", fit.confusion), np.tile(ability[:, None], 3), atol=1e-8)
    off = fit.confusion[:, ~np.eye(3, dtype=bool)]
    assert_allclose(off, np.tile((1 - ability[:, None]) / 2, 6), atol=1e-8)


def test_zero_counts_do_not_break_it() -> None:
    """Without a pseudocount, unanimous workers have zero cells and contradict each other."""
    votes = Votes.from_codes(
        np.array([0, 0, 1, 1, 2, 2, 3]),
        np.array([0, 1, 0, 1, 0, 1, 0]),
        np.array([0, 0, 1, 1, 0, 1, 0]),
    )
    fit = aggregator("dawid-skene", pseudocount=0.0).fit(votes)
    assert np.isfinite(fit.posterior).all() and np.isfinite(fit.history.bound).all()


def test_a_worker_with_fifty_thousand_votes_on_one_item_does_not_underflow() -> None:
    item = np.concatenate([np.zeros(50_000, dtype=int), np.arange(1, 40).repeat(3)])
    worker = np.concatenate([np.zeros(50_000, dtype=int), np.tile([0, 1, 2], 39)])
    label = np.concatenate([np.arange(50_000) % 3 == 0, np.arange(1, 40).repeat(3) % 2]).astype(int)
    fit = aggregator("dawid-skene").fit(Votes.from_codes(item, worker, label))
    assert np.isfinite(fit.posterior).all() and np.isfinite(fit.history.bound[-1])


def test_class_shares_of_the_1979_table() -> None:
    """Dawid and Skene (1979) give .40, .42, .11, .07 for the four grades of fitness."""
    from crowdlearn.datasets import load

    fit = aggregator("dawid-skene", pseudocount=0.0).fit(load("anesthesia"))
    assert_allclose(fit.prior, [0.40, 0.42, 0.11, 0.07], atol=0.005)


@pytest.mark.parametrize(
    ("name", "settings", "data", "percent", "within"),
    [
        ("dawid-skene", {"pseudocount": 0.01}, "rte", 7.25, 0.01),
        ("dawid-skene", {"pseudocount": 0.1}, "rte", 7.125, 0.01),
        ("dawid-skene", {"pseudocount": 1.0}, "rte", 7.0, 0.01),
        ("dawid-skene", {"pseudocount": 0.01}, "bluebird", 10.19, 0.01),
        ("dawid-skene", {"pseudocount": 0.01}, "dog", 15.74, 0.13),
        ("dawid-skene", {"pseudocount": 0.01}, "web", 18.13, 0.5),
        ("majority", {}, "web", 26.93, 0.01),
        ("majority", {}, "bluebird", 24.07, 0.01),
    ],
)
def test_error_rates_on_public_sets(
    name: str,
    settings: dict[str, float],
    data: str,
    percent: float,
    within: float,
    shared: Callable[[str], tuple[Votes, np.ndarray]],
) -> None:
    """Against independent implementations of the same definitions (soft start)."""
    from crowdlearn.evaluation.accuracy import error

    votes, truth = shared(data)
    fit = aggregator(name, **settings).fit(votes)
    assert_allclose(100 * error(fit.posterior, truth), percent, atol=within + 0.005)


def test_the_start_is_used(shared: Callable[[str], tuple[Votes, np.ndarray]]) -> None:
    from crowdlearn.evaluation.accuracy import error

    votes, truth = shared("bluebird")
    hard = aggregator("dawid-skene", pseudocount=0.0, start=hard_majority).fit(votes)
    assert 100 * error(hard.posterior, truth) == pytest.approx(12.04, abs=0.01)
    with pytest.warns(UserWarning, match="look swapped"):
        blind = aggregator("dawid-skene", start=random_dirichlet, seed=1).fit(votes)
        blinder = aggregator("dawid-skene", start=random_dirichlet, seed=2).fit(votes)
        blindest = aggregator("dawid-skene", start=random_dirichlet, seed=3).fit(votes)
    worst = max(error(f.posterior, truth) for f in (blind, blinder, blindest))
    assert worst > 0.5
