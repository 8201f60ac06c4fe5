from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_allclose

from crowdlearn.aggregators import aggregator
from crowdlearn.aggregators.bcc import dirichlet_prior
from crowdlearn.inference.starts import hard_majority, random_dirichlet
from crowdlearn.votes import Votes
from tests.crowdlearn.aggregators.oracles import exact_truths, idbla_log_joint

FLAT = dirichlet_prior(2, 1.0, 1.0)


@pytest.fixture(scope="module")
def small() -> Votes:
    return Votes.from_codes(
        np.array([0, 0, 0, 1, 1, 2, 2]),
        np.array([0, 1, 2, 0, 1, 0, 2]),
        np.array([0, 0, 1, 1, 0, 1, 1]),
    )


@pytest.mark.filterwarnings("ignore::crowdlearn.errors.ConvergenceWarning")
@pytest.mark.parametrize(
    ("name", "guess_count"), [("idbla-gibbs", 1.0), ("fixed-idbla-gibbs", None)]
)
def test_gibbs_draws_from_the_enumerated_posterior(
    name: str, guess_count: float | None, small: Votes
) -> None:
    """A lopsided prior tells the classes apart: chains need not switch labels to be right."""
    rows = dirichlet_prior(2, 1.0, 3.0)
    exact, _ = exact_truths(small, idbla_log_joint(small, 1.0, rows, (3.0, 2.0), guess_count), 2)
    method = {"diagonal": 3.0, "easy": 3.0, "hard": 2.0, "n_draws": 500, "n_warmup": 50}
    runs = np.stack(
        [aggregator(name, seed=seed, **method).fit(small).posterior[:, 0] for seed in range(10)]
    )
    spread = runs.std(axis=0, ddof=1) / np.sqrt(len(runs))
    assert (spread < 0.006).all()  # so an error of 0.03 in a probability is found
    assert (np.abs(runs.mean(axis=0) - exact[:, 0]) < 4 * spread + 1e-4).all()


@pytest.mark.parametrize(
    ("name", "guess_count"),
    [
        ("idbla", 1.0),
        ("fixed-idbla", None),
        ("idbla-factorised", 1.0),
        ("fixed-idbla-factorised", None),
    ],
)
def test_the_bound_is_below_the_evidence(
    name: str, guess_count: float | None, small: Votes
) -> None:
    log_joint = idbla_log_joint(small, 1.0, FLAT, (9.0, 1.0), guess_count)
    _, log_evidence = exact_truths(small, log_joint, 2)
    bound = aggregator(name, tolerance=1e-9, max_sweeps=5000).fit(small).history.bound[-1]
    assert log_evidence - 4.0 < bound < log_evidence


@pytest.mark.parametrize("name", ["idbla", "fixed-idbla", "idbla-factorised"])
def test_when_every_item_is_easy_it_is_bcc(name: str, world: tuple[Votes, np.ndarray]) -> None:
    votes, _ = world
    easy = aggregator(name, easy=1e6, hard=1.0, tolerance=1e-9, max_sweeps=5000).fit(votes)
    bcc = aggregator("bcc", diagonal=1.0, tolerance=1e-9, max_sweeps=5000).fit(votes)
    assert_allclose(easy.posterior, bcc.posterior, atol=1e-4)
    assert_allclose(easy.confusion, bcc.confusion, atol=1e-4)


def test_hard_items_are_found() -> None:
    """Half of the items get random votes: they come out as the difficult ones."""
    rng = np.random.default_rng(0)
    truth, hard = rng.integers(0, 3, 300), np.arange(300) % 2 == 0
    item = np.repeat(np.arange(300), 10)
    worker = np.tile(np.arange(30), 100)
    right = rng.random(3000) < np.where(hard[item], 1 / 3, 0.97)
    label = np.where(right, truth[item], (truth[item] + rng.integers(1, 3, 3000)) % 3)
    votes = Votes.from_codes(item, worker, label)
    fit = aggregator("fixed-idbla", easy=2.0, hard=1.0, diagonal=4.0).fit(votes)
    assert fit.difficulty is not None
    assert (fit.difficulty[hard].mean() - fit.difficulty[~hard].mean()) > 0.3


def web_of_76_workers(votes: Votes, truth: np.ndarray) -> tuple[Votes, np.ndarray]:
    """The subset of the paper: workers with 30 votes or more, items with truth."""
    known = truth >= 0
    return votes.only_workers(votes.votes_per_worker >= 30).only_items(known), truth[known]


@pytest.mark.parametrize(
    ("name", "web", "rte"),
    [("idbla", (16.32, 0.4), (7.0, 0.15)), ("fixed-idbla", (17.38, 0.5), (7.38, 0.15))],
)
def test_error_rates_of_the_reconstruction(
    name: str,
    web: tuple[float, float],
    rte: tuple[float, float],
    shared: Callable[[str], tuple[Votes, np.ndarray]],
) -> None:
    from crowdlearn.evaluation.accuracy import error

    votes, truth = web_of_76_workers(*shared("web"))
    assert (votes.n_workers, votes.n_items, votes.n_votes) == (76, 2653, 14638)
    fit = aggregator(name).fit(votes)
    assert_allclose(100 * error(fit.posterior, truth), web[0], atol=web[1])
    votes, truth = shared("rte")
    fit = aggregator(name).fit(votes)
    assert_allclose(100 * error(fit.posterior, truth), rte[0], atol=rte[1])


@pytest.mark.filterwarnings("ignore::crowdlearn.errors.ConvergenceWarning")
def test_without_initialisation_it_is_much_worse(
    shared: Callable[[str], tuple[Votes, np.ndarray]],
) -> None:
    """The paper's ablation, which also shows that the start is used."""
    from crowdlearn.evaluation.accuracy import error

    votes, truth = shared("rte")
    hard = error(aggregator("idbla", start=hard_majority).fit(votes).posterior, truth)
    blind = [
        error(aggregator("idbla", start=random_dirichlet, seed=s).fit(votes).posterior, truth)
        for s in range(3)
    ]
    assert hard == pytest.approx(0.07, abs=0.002)
    assert np.mean(blind) > 0.14
