"""`hierarchical` and `cbcc` against enumeration, quadrature and their own worlds."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import gammaln, roots_hermitenorm, roots_jacobi
from scipy.stats import chi2

from crowdlearn.aggregators import aggregator
from crowdlearn.aggregators.population import population
from crowdlearn.errors import SettingsError
from crowdlearn.gold import gold_codes
from crowdlearn.inference.gibbs import sweep_streams
from crowdlearn.votes import Votes
from tests.crowdlearn.aggregators.oracles import log_dirichlet_multinomial

short_runs = pytest.mark.filterwarnings("ignore::crowdlearn.errors.ConvergenceWarning")


def row_integral(counts: np.ndarray, spread: float = 1.0) -> np.ndarray:
    """Evidence of (worker, right or wrong) counts of one class, and of it times log strength, mean.

    Two classes, a row's mean ~ Beta(2, 1) and strength ~ LogNormal(log 4, spread): by quadrature.
    """
    z, z_weight = roots_hermitenorm(40)
    u, u_weight = roots_jacobi(24, 0, 1)  # weight (1 + u) on [-1, 1]: Beta(2, 1) on [0, 1]
    log_strength = np.log(4.0) + spread * z
    mean = (1 + u) / 2
    nu = np.exp(log_strength)[:, None]
    total = np.zeros((len(z), len(u)))
    for right, wrong in counts:
        total += gammaln(nu) - gammaln(nu + right + wrong)
        total += gammaln(nu * mean + right) - gammaln(nu * mean)
        total += gammaln(nu * (1 - mean) + wrong) - gammaln(nu * (1 - mean))
    weight = np.outer(z_weight / z_weight.sum(), u_weight / u_weight.sum()) * np.exp(total)
    moments = (weight, weight * log_strength[:, None], weight * mean)
    return np.array([moment.sum() for moment in moments])


def exact(votes: Votes, n_communities: int, community_count: float) -> dict[str, np.ndarray]:
    """Posterior of truths, and with one community of its strengths and means, over all worlds."""
    total, truths = 0.0, np.zeros((votes.n_items, 2))
    moments = np.zeros((2, 2))  # of log strength and of the diagonal of the mean; by class
    for world in itertools.product((0, 1), repeat=votes.n_items):
        truth = np.array(world)
        counts = np.zeros((votes.n_workers, 2, 2))  # worker, class, right or wrong
        np.add.at(
            counts, (votes.worker, truth[votes.item], (votes.label != truth[votes.item]) * 1), 1
        )
        log_prior = log_dirichlet_multinomial(np.bincount(truth, minlength=2), np.ones(2))
        for who in itertools.product(range(n_communities), repeat=votes.n_workers):
            community = np.array(who)
            sizes = np.bincount(community, minlength=n_communities)
            weight = np.exp(
                log_prior
                + log_dirichlet_multinomial(sizes, np.full(n_communities, community_count))
            )
            rows = np.array(
                [
                    [row_integral(counts[community == m, k]) for k in range(2)]
                    for m in range(n_communities)
                ]
            )
            weight *= rows[:, :, 0].prod()
            total += weight
            truths[np.arange(votes.n_items), truth] += weight
            moments += weight * (rows[0, :, 1:] / rows[0, :, :1]).T
    return {"truth": truths / total, "log_strength": moments[0] / total, "mean": moments[1] / total}


@short_runs
def test_hierarchical_draws_from_the_enumerated_posterior(tiny: Votes) -> None:
    """Truths, strengths and means: every block of the sampler has to be right."""
    known = exact(tiny, 1, 1.0)
    runs = []
    for seed in range(6):
        fit = aggregator("hierarchical", n_chains=2, n_warmup=50, n_draws=400, seed=seed).fit(tiny)
        people = population(fit)
        runs.append(
            [*fit.posterior[:, 0], *np.log(people.strength[0]), *np.diagonal(people.mean[0])]
        )
    expected = [*known["truth"][:, 0], *known["log_strength"], *known["mean"]]
    spread = np.std(runs, axis=0, ddof=1) / np.sqrt(len(runs))
    assert (spread < 0.06).all()
    assert (np.abs(np.mean(runs, axis=0) - expected) < 5 * spread).all()


@short_runs
def test_communities_are_drawn_from_the_enumerated_posterior(tiny: Votes) -> None:
    known = exact(tiny, 2, 1.5)
    settings = {"n_communities": 2, "community_count": 1.5, "n_chains": 2, "n_draws": 400}
    runs = np.array(
        [
            aggregator("cbcc", n_warmup=50, seed=seed, **settings).fit(tiny).posterior[:, 0]
            for seed in range(6)
        ]
    )
    spread = runs.std(axis=0, ddof=1) / np.sqrt(len(runs))
    assert (spread < 0.02).all()
    assert (np.abs(runs.mean(axis=0) - known["truth"][:, 0]) < 5 * spread).all()


def own_world(method: Any, n_communities: int, rng: np.random.Generator) -> dict[str, Any]:
    """30 items, 6 workers and 2 classes from the story, each item judged by 4 of them."""
    rows = method.off_diagonal + (method.diagonal - method.off_diagonal) * np.eye(2)
    prior = rng.dirichlet(np.full(2, method.prior_count))
    count = getattr(method, "community_count", 1.0)
    share = rng.dirichlet(np.full(n_communities, count))
    mean = np.array([[rng.dirichlet(row) for row in rows] for _ in range(n_communities)])
    centre = np.log(2 * method.concentration)
    strength = np.exp(rng.normal(centre, method.spread, (n_communities, 2)))
    community = rng.choice(n_communities, 6, p=share)
    alpha = (strength[:, :, None] * mean)[community]
    confusion = np.array([[rng.dirichlet(row) for row in worker] for worker in alpha])
    truth = rng.choice(2, 30, p=prior)
    worker = np.argsort(rng.random((30, 6)), axis=1)[:, :4].ravel()
    item = np.repeat(np.arange(30), 4)
    label = (rng.random(120) < confusion[worker, truth[item], 1]).astype(int)
    return {
        "votes": Votes.from_codes(item, worker, label, items=30, workers=6, classes=2),
        "values": [
            prior[0],
            confusion[0, 0, 1],  # precise where it is tiny, as its complement is not
            strength[community[0], 0],
            mean[community[0], 1, 1],
            prior @ np.diagonal(confusion[1]),
        ],
    }


def ranks(method: Any, n_communities: int, seed: int, n_thin: int = 10) -> np.ndarray:
    """Ranks of the world's values among 19 draws, n_thin sweeps apart, after 50 sweeps."""
    world = own_world(method, n_communities, np.random.default_rng([seed, 1]))
    votes = world["votes"]
    chain = method.chain(votes, gold_codes(votes, None), 0)
    tally = np.zeros((30, 2))
    below = np.zeros(5, dtype=int)
    for sweep in range(50 + 19 * n_thin):
        drawn = chain.sweep(sweep_streams(seed, 0, sweep), tally, False)
        if sweep < 50 or (sweep - 49) % n_thin:
            continue
        table = drawn.table.reshape(6, 2, 2)
        at = chain.community[0]
        values = [
            drawn.prior[0],
            table[0, 1, 0],
            chain.strength[at, 0],
            chain.mean[at, 1, 1],
            drawn.prior @ np.diagonal(table[1]),
        ]
        below += np.array(values) < world["values"]
    return below


def uniformity(method: Any, n_communities: int, n_worlds: int) -> np.ndarray:
    """p-values that the ranks of each quantity are uniform: chi-square over ten bins."""
    found = np.array([ranks(method, n_communities, seed) for seed in range(n_worlds)])
    bins = np.array([np.bincount(column // 2, minlength=10) for column in found.T])
    expected = n_worlds / 10
    return chi2.sf(((bins - expected) ** 2 / expected).sum(axis=1), 9)


@pytest.mark.slow
def test_hierarchical_is_calibrated_on_its_own_worlds() -> None:
    """Simulation-based calibration (Talts et al. 2018).

    The diagonal keeps the classes apart: where their names may be exchanged, short chains stay in
    the naming they start from.
    """
    method = aggregator("hierarchical", diagonal=10.0)
    assert (uniformity(method, 1, 100) > 0.001).all()


@pytest.mark.slow
def test_cbcc_is_calibrated_on_its_own_worlds() -> None:
    method = aggregator("cbcc", n_communities=2, community_count=2.0, diagonal=10.0)
    assert (uniformity(method, 2, 100) > 0.001).all()


def test_workers_who_are_alike_have_a_strong_population() -> None:
    """40 alike workers with 3 votes an item: the strength says so, and intervals borrow from it."""
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 2, 300)
    item, worker = np.repeat(np.arange(300), 5), rng.integers(0, 40, 1500)
    label = np.where(rng.random(1500) < 0.8, truth[item], 1 - truth[item])
    votes = Votes.from_codes(item, worker, label, workers=40)
    with pytest.warns(UserWarning):
        fit = aggregator("hierarchical", n_chains=2, n_warmup=100, n_draws=300).fit(votes)
    alone = aggregator("bcc").fit(votes)
    people = population(fit)
    assert (people.strength > 20).all()
    assert_allclose(np.diagonal(people.mean[0]), 0.8, atol=0.06)
    assert np.std(fit.worker_accuracy.mean) < 0.5 * np.std(alone.worker_accuracy.mean)


@short_runs
def test_communities_of_its_own_world_are_found() -> None:
    """Good workers, spammers who always say 0, and adversaries: three communities in order."""
    rng = np.random.default_rng(4)
    kinds = np.array([[[0.9, 0.1], [0.1, 0.9]], [[0.95, 0.05], [0.95, 0.05]], [[0.3, 0.7]] * 2])
    kinds[2, 1] = [0.7, 0.3]
    kind = np.repeat([0, 1, 2], [14, 8, 8])
    truth = rng.integers(0, 2, 400)
    item, worker = np.repeat(np.arange(400), 10), rng.integers(0, 30, 4000)
    label = (rng.random(4000) < kinds[kind[worker], truth[item], 1]).astype(int)
    votes = Votes.from_codes(item, worker, label, workers=30)
    fit = aggregator("cbcc", n_chains=2, n_warmup=100, n_draws=200).fit(votes)
    people = population(fit)
    assert (fit.labels == truth).mean() > 0.95
    assert_array_equal(people.membership.argmax(axis=1), kind)
    assert_allclose(people.membership.sum(axis=1), 1)
    assert_allclose(people.mean, kinds, atol=0.12)
    assert_allclose(people.share, [14 / 30, 8 / 30, 8 / 30], atol=0.15)


@short_runs
@pytest.mark.parametrize("name", ["hierarchical", "cbcc"])
def test_a_resumed_chain_draws_what_it_would_have_drawn(
    name: str, world: tuple[Votes, np.ndarray]
) -> None:
    votes, _ = world
    short = {"n_chains": 2, "n_warmup": 10}
    whole = aggregator(name, n_draws=30, **short).fit(votes)
    half = aggregator(name, n_draws=20, **short).fit(votes)
    resumed = aggregator(name, n_draws=10, **short).fit(votes, resume=half)
    assert_array_equal(resumed.draws.diagonal, whole.draws.diagonal)
    assert_array_equal(resumed.history.bound, whole.history.bound)
    assert_allclose(population(resumed).mean, population(whole).mean, atol=1e-12)
    assert_allclose(population(resumed).membership, population(whole).membership, atol=1e-12)


@short_runs
def test_one_community_is_hierarchical(world: tuple[Votes, np.ndarray]) -> None:
    short = {"n_chains": 1, "n_warmup": 5, "n_draws": 10}
    one = aggregator("cbcc", n_communities=1, **short).fit(world[0])
    same = aggregator("hierarchical", **short).fit(world[0])
    assert_allclose(one.posterior.mean(axis=0), same.posterior.mean(axis=0), atol=0.05)
    with pytest.raises(SettingsError, match="n_communities must be at least 1"):
        aggregator("cbcc", n_communities=0)
