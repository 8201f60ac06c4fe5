from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import norm

from crowdlearn.aggregators import aggregator
from crowdlearn.aggregators.ordinal import Ordinal
from crowdlearn.errors import SettingsError, VotesWarning
from crowdlearn.evaluation import log_loss
from crowdlearn.sweeps import scales
from crowdlearn.sweeps.pool import Pool
from crowdlearn.votes import Votes

SPREADS = np.array([0.5, 0.4, 0.3])


def draw_world(
    seed: int, n_items: int = 300, n_workers: int = 30, each: int = 3
) -> tuple[Votes, np.ndarray, np.ndarray]:
    """Votes, truths and worker tables (worker, label, class) drawn from the story, five classes."""
    rng = np.random.default_rng(seed)
    prior = rng.dirichlet(np.full(5, 3.0))
    knobs = rng.normal([2.0, 0, 0, 0], 0.5)
    workers = rng.normal(scales.TYPICAL, 0.5, (n_workers, 3))
    table = scales.table(knobs, workers, 0.02, Pool(1))
    truth = rng.choice(5, size=n_items, p=prior)
    item = np.repeat(np.arange(n_items), each)
    worker = np.concatenate([rng.permutation(n_workers)[:each] for _ in range(n_items)])
    label = np.array(
        [rng.choice(5, p=table[w, :, truth[i]]) for i, w in zip(item, worker, strict=True)]
    )
    votes = Votes.from_codes(item, worker, label, items=n_items, workers=n_workers, classes=5)
    return votes, truth, table


def test_tables_are_differences_of_normal_tails() -> None:
    knobs, worker = np.array([1.4, 0.3, -0.2]), np.array([[0.4, 0.8, -0.5]])
    cuts = scales.thresholds(knobs)
    assert_allclose(np.diff(cuts), np.exp(knobs[1:]))
    assert_allclose(cuts.mean(), 1.4)
    seen = 1.5 + 0.8 * (np.arange(4) - 1.5) + 0.4
    below = norm.cdf(cuts[:, None], seen, np.exp(-0.5))
    rows = np.diff(np.vstack([np.zeros(4), below, np.ones(4)]), axis=0)
    assert_allclose(scales.table(knobs, worker, 0.1, Pool(1))[0], 0.9 * rows + 0.1 / 4, atol=1e-14)


def log_posterior(counts: np.ndarray, knobs: np.ndarray, workers: np.ndarray) -> float:
    fit = (counts * np.log(scales.table(knobs, workers, 0.05, Pool(1)))).sum()
    return float(fit - 0.5 * (((workers - scales.TYPICAL) / SPREADS) ** 2).sum())


def test_improvement_ends_where_no_direction_leads_up() -> None:
    """Workers and knobs in turn reach a point where numerical derivatives are zero."""
    rng = np.random.default_rng(0)
    counts = rng.gamma(0.5, 8.0, (4, 4, 4)) + 5 * np.eye(4)
    knobs, workers = np.array([1.5, 0.0, 0.0]), np.tile(scales.TYPICAL, (4, 1))
    prior = np.array([1.5, 0.0, 0.0]), np.full(3, 4.0)
    values = []
    for _ in range(1000):
        workers = scales.better_workers(counts, knobs, workers, SPREADS, 0.05, Pool(1))
        knobs = scales.better_knobs(counts, knobs, workers, prior, 0.05, Pool(1))
        values.append(log_posterior(counts, knobs, workers) - 2 * ((knobs - prior[0]) ** 2).sum())
    assert np.diff(values).min() > -1e-10
    for place in np.ndindex(4, 3):
        step = np.zeros((4, 3))
        step[place] = 1e-5
        up, down = (log_posterior(counts, knobs, workers + s * step) for s in (1, -1))
        assert abs(up - down) / 2e-5 < 1e-3
    for j in range(3):
        step = 1e-5 * np.eye(3)[j]
        up, down = (
            log_posterior(counts, knobs + s * step, workers)
            - 2 * ((knobs + s * step - prior[0]) ** 2).sum()
            for s in (1, -1)
        )
        assert abs(up - down) / 2e-5 < 1e-3


@pytest.fixture(scope="module")
def converged() -> tuple[Votes, Any, dict[str, np.ndarray]]:
    """A fit, and the parameters it ended with."""
    votes, _, _ = draw_world(1, n_items=80, n_workers=6)
    kept = {}

    class Spy(Ordinal):
        def _improved(self, counts: Any, scale: Any, pool: Any) -> Any:
            kept["scale"] = super()._improved(counts, scale, pool)
            return kept["scale"]

    fit = Spy(tolerance=1e-10, max_sweeps=5000).fit(votes)
    knobs, workers = kept["scale"]
    sites = {"middle": knobs[0], "gap": np.exp(knobs[1:]), "prior": fit.predictor.prior}
    sites |= {"bias": workers[:, 0], "slope": workers[:, 1], "noise": np.exp(workers[:, 2])}
    return votes, fit, sites


def test_the_fit_is_a_stationary_point_of_the_numpyro_story(
    converged: tuple[Votes, Any, dict[str, np.ndarray]],
) -> None:
    """Its gradient in all but the prior is zero, truths summed out; so are the item posteriors."""
    jax = pytest.importorskip("jax")
    from numpyro.infer.util import potential_energy, unconstrain_fn

    from crowdlearn.models import STORIES, vote_data

    votes, fit, sites = converged
    with jax.enable_x64(True):
        data, story = vote_data(votes), STORIES["ordinal"]
        sites["prior"] = sites["prior"] / sites["prior"].sum()
        at_fit = {name: jax.numpy.asarray(value) for name, value in sites.items()}
        from numpyro import handlers

        @jax.jit
        def told(at: Any) -> Any:
            loose = unconstrain_fn(story, (data,), {}, at)
            slope = jax.grad(lambda at: potential_energy(story, (data,), {}, at))(loose)
            with handlers.substitute(data=at), handlers.seed(rng_seed=0):
                return slope, story(data).truth(data)

        slope, truth = told(at_fit)
    for name in ("middle", "gap", "bias", "slope", "noise"):
        assert_allclose(slope[name], 0, atol=2e-4)
    assert_allclose(truth, fit.posterior, atol=1e-8)


def test_a_scale_read_from_the_other_end_gives_the_same_answers(
    converged: tuple[Votes, Any, dict[str, np.ndarray]],
) -> None:
    votes, fit, _ = converged
    turned = Votes.from_codes(
        votes.item, votes.worker, 4 - votes.label, items=votes.n_items, workers=6, classes=5
    )
    other = aggregator("ordinal", tolerance=1e-10, max_sweeps=5000).fit(turned)
    assert_allclose(other.posterior[:, ::-1], fit.posterior, atol=1e-6)
    assert_allclose(other.confusion[:, ::-1, ::-1], fit.confusion, atol=1e-6)


@pytest.mark.filterwarnings("ignore::crowdlearn.errors.ConvergenceWarning")
def test_in_its_own_world_it_beats_methods_blind_to_the_order() -> None:
    losses: dict[str, list[float]] = {"ordinal": [], "bcc": [], "dawid-skene": []}
    for seed in range(5):
        votes, truth, _ = draw_world(seed)
        for name, found in losses.items():
            fit = aggregator(name, max_sweeps=2000, tolerance=1e-4).fit(votes)
            found.append(log_loss(fit.posterior, truth))
    mean = {name: np.mean(found) for name, found in losses.items()}
    assert mean["ordinal"] < 0.9 * min(mean["bcc"], mean["dawid-skene"])


def test_an_order_of_spelling_is_warned_of(tiny: Votes) -> None:
    label = np.array([0, 0, 1, 2, 1, 0, 1, 1, 1])
    for classes, means_it in (
        (["bad", "good", "ok"], False),
        (["bad", "ok", "good"], True),
        (["A", "B", "C"], True),
        (["0.5", "1", "10"], True),
    ):
        votes = Votes.from_codes(tiny.item, tiny.worker, label, classes=classes)
        if means_it:
            aggregator("ordinal").fit(votes)
        else:
            with pytest.warns(VotesWarning, match="in the order bad, good, ok.*--classes"):
                aggregator("ordinal").fit(votes)


def test_a_story_that_always_lapses_is_refused(tiny: Votes) -> None:
    pytest.importorskip("jax")
    from crowdlearn.models import STORIES, vote_data

    with pytest.raises(SettingsError, match="lapse must be between 0 and 1, not 1.0"):
        STORIES["ordinal"](vote_data(tiny), lapse=1.0)
