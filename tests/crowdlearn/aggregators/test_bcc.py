from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from crowdlearn.aggregators import aggregator
from crowdlearn.aggregators.bcc import dirichlet_prior
from crowdlearn.errors import ConvergenceWarning, SettingsError
from crowdlearn.votes import Votes
from tests.crowdlearn.aggregators.oracles import bcc_log_joint, exact_truths

ROWS = dirichlet_prior(2, 1.0, 2.0)
short_runs = pytest.mark.filterwarnings("ignore::crowdlearn.errors.ConvergenceWarning")


@short_runs
def test_gibbs_draws_from_the_enumerated_posterior(tiny: Votes) -> None:
    """An error of 0.03 in a probability is found."""
    exact, _ = exact_truths(tiny, bcc_log_joint(tiny, 1.0, ROWS), 2)
    method = {"n_chains": 4, "n_warmup": 50, "n_draws": 400}
    runs = np.stack(
        [
            aggregator("bcc-gibbs", seed=seed, **method).fit(tiny).posterior[:, 0]
            for seed in range(10)
        ]
    )
    spread = runs.std(axis=0, ddof=1) / np.sqrt(len(runs))
    assert (spread < 0.006).all()
    assert (np.abs(runs.mean(axis=0) - exact[:, 0]) < 4 * spread + 1e-4).all()


def test_gold_answers_condition_the_posterior(tiny: Votes) -> None:
    log_joint = bcc_log_joint(tiny, 1.0, ROWS)
    exact, _ = exact_truths(tiny, lambda t: log_joint(t) if t[1] == 0 else -np.inf, 2)
    fit = aggregator("bcc-gibbs", n_draws=5000).fit(tiny, gold={"1": "0"})
    assert_allclose(fit.posterior, exact, atol=0.02)


def test_the_bound_is_below_the_evidence(tiny: Votes) -> None:
    _, log_evidence = exact_truths(tiny, bcc_log_joint(tiny, 1.0, ROWS), 2)
    bound = aggregator("bcc", tolerance=1e-10).fit(tiny).history.bound[-1]
    assert log_evidence - 2.0 < bound < log_evidence


def test_with_much_data_variational_and_sampled_agree(world: tuple[Votes, np.ndarray]) -> None:
    votes, _ = world
    variational = aggregator("bcc").fit(votes)
    sampled = aggregator("bcc-gibbs").fit(votes)
    assert (variational.labels == sampled.labels).mean() > 0.95
    assert_allclose(variational.confusion, sampled.confusion, atol=0.12)


@short_runs
def test_a_resumed_chain_draws_what_it_would_have_drawn(world: tuple[Votes, np.ndarray]) -> None:
    votes, _ = world
    short = {"n_chains": 2, "n_warmup": 10}
    whole = aggregator("bcc-gibbs", n_draws=50, **short).fit(votes)
    half = aggregator("bcc-gibbs", n_draws=30, **short).fit(votes)
    resumed = aggregator("bcc-gibbs", n_draws=20, **short).fit(votes, resume=half)
    assert_array_equal(resumed.draws.diagonal, whole.draws.diagonal)
    assert_array_equal(resumed.history.bound, whole.history.bound)
    assert_allclose(resumed.posterior, whole.posterior, atol=1e-12)
    assert_allclose(resumed.worker_accuracy.low, whole.worker_accuracy.low, atol=1e-9)


def test_short_runs_warn_and_say_what_would_do(world: tuple[Votes, np.ndarray]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = aggregator("bcc-gibbs", n_draws=20, n_warmup=0).fit(world[0])
    assert not fit.history.converged
    assert all(warning.category is ConvergenceWarning for warning in caught)
    assert any("independent draws" in text and "raise n_draws" in text for text in fit.warnings)


@short_runs
def test_resuming_something_else_is_refused(world: tuple[Votes, np.ndarray], tiny: Votes) -> None:
    votes, _ = world
    fit = aggregator("bcc-gibbs", n_draws=10, n_warmup=0).fit(votes)
    with pytest.raises(SettingsError, match="diagonal was 2.0 and is 3.0"):
        aggregator("bcc-gibbs", diagonal=3.0).fit(votes, resume=fit)
    with pytest.raises(SettingsError, match="votes are not those"):
        aggregator("bcc-gibbs").fit(tiny, resume=fit)
    with pytest.raises(SettingsError, match="gold answers"):
        aggregator("bcc-gibbs").fit(votes, gold={"0": "1"}, resume=fit)
    with pytest.raises(SettingsError, match="from a result of majority"):
        aggregator("bcc-gibbs").fit(votes, resume=aggregator("majority").fit(votes))


@short_runs
def test_intervals_cover_the_truth_they_were_drawn_with() -> None:
    """Worlds drawn from the story itself: 90 % intervals of accuracy hold it 90 % of the time."""
    inside = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        prior = rng.dirichlet(np.ones(2))
        confusion = np.stack([[rng.dirichlet(row) for row in ROWS] for _ in range(8)])
        truth = rng.choice(2, p=prior, size=60)
        item, worker = (a.ravel() for a in np.meshgrid(np.arange(60), np.arange(8), indexing="ij"))
        label = (rng.random(480) < confusion[worker, truth[item], 1]).astype(int)
        votes = Votes.from_codes(item, worker, label, classes=2)
        short = {"n_chains": 2, "n_warmup": 50, "n_draws": 300}
        accuracy = aggregator("bcc-gibbs", **short).fit(votes).worker_accuracy
        actual = np.einsum("wkk->wk", confusion) @ prior
        inside.append((accuracy.low <= actual) & (actual <= accuracy.high))
    coverage = np.mean(inside)
    assert 0.83 < coverage < 0.97  # 320 intervals that share worlds: sd about 0.03
