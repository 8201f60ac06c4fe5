from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from crowdlearn import datasets, models
from crowdlearn.aggregation import Sweep
from crowdlearn.errors import SettingsError, StoryError
from crowdlearn.votes import Votes
from tests.crowdlearn.models.conftest import small

__all__ = ["small"]  # a fixture

torch = pytest.importorskip("torch")
pyro = pytest.importorskip("pyro")

from crowdlearn import models_pyro  # noqa: E402
from crowdlearn.inference import svi_pyro  # noqa: E402

Fit = tuple[svi_pyro.Samples, np.ndarray]
NO_GOLD = np.full(45, -1, dtype=np.int32)


@pytest.fixture(scope="module")
def fit() -> Callable[..., Fit]:
    """(name, settings of the run) -> samples and posterior of the truths on anesthesia; cached."""
    votes = datasets.load("anesthesia")

    @functools.cache
    def fitted(name: str, n_steps: int, batch_items: int = 0, seed: int = 0) -> Fit:
        story = models_pyro.STORIES[name]
        samples = svi_pyro.run(
            story, votes, NO_GOLD,
            n_steps=n_steps, batch_items=batch_items, n_draws=200, seed=seed, device="cpu",
        )  # fmt: skip
        return samples, svi_pyro.truth_posterior(story, samples, models_pyro.vote_data(votes))

    return fitted


def numpyro_fit(votes: Votes) -> tuple[float, np.ndarray, np.ndarray]:
    """Dawid-Skene by NumPyro's own SVI from the vote shares: bound, draws of rows, of truths."""
    import jax.numpy as jnp
    from numpyro import handlers, optim
    from numpyro.infer import SVI, Trace_ELBO, init_to_value
    from numpyro.infer.autoguide import AutoNormal

    story, data, shares = models.STORIES["dawid-skene"], models.vote_data(votes), votes.shares()
    counts = np.ones((votes.n_workers, votes.n_classes, votes.n_classes))
    for item, worker, label in zip(votes.item, votes.worker, votes.label, strict=True):
        counts[worker, :, label] += shares[item]
    start = {
        "prior": jnp.asarray(shares.mean(axis=0)),
        "confusion": jnp.asarray(counts / counts.sum(axis=2, keepdims=True)),
    }
    guide = AutoNormal(story, init_loc_fn=init_to_value(values=start))
    svi = SVI(story, guide, optim.Adam(0.005), Trace_ELBO())
    read = lambda sites: handlers.substitute(story, data=sites)(data).truth(data)  # noqa: E731

    @jax.jit
    def run(key: Any, later: Any) -> Any:
        fit = svi.run(key, 2000, data, progress_bar=False)
        draws = guide.sample_posterior(later, fit.params, sample_shape=(200,))
        with handlers.block():
            return fit.losses, draws["confusion"], jax.lax.map(read, draws)

    losses, confusion, truths = run(jax.random.key(0), jax.random.key(1))
    return -float(np.mean(losses[-500:])), np.asarray(confusion), np.asarray(truths)


def assert_means_agree(mean: np.ndarray, draws: np.ndarray, n_draws: int, slack: float) -> None:
    """`mean` of `n_draws` draws is that of `draws`, within 4 standard errors and `slack`."""
    error = draws.std(axis=0, ddof=1) * np.sqrt(1 / n_draws + 1 / len(draws))
    assert (np.abs(mean - draws.mean(axis=0)) < 4 * error + slack).all()


@pytest.mark.slow
def test_numpyro_comes_to_the_same_guide(fit: Callable[..., Fit]) -> None:
    """Same story, same family of guides: the bound to 1 nat, readings to the draws' noise."""
    samples, truths = fit("dawid-skene", 800)
    bound, confusion, expected = numpyro_fit(datasets.load("anesthesia"))
    assert samples.converged and not samples.problems
    assert abs(samples.bound[-200:].mean() - bound) < 1.0
    assert_means_agree(truths, expected, 200, slack=0.02)
    assert_means_agree(samples.sites["confusion"][0].mean(axis=0), confusion, 200, slack=0.02)


@pytest.mark.slow
def test_batches_come_to_the_same_bound_and_truths(fit: Callable[..., Fit]) -> None:
    whole, truths = fit("dawid-skene", 800)
    samples, by_batches = fit("dawid-skene", 800, batch_items=15)
    assert_allclose(by_batches, truths, atol=0.1)
    spread = samples.bound[-200:].std() / np.sqrt(200)
    assert abs(samples.bound[-200:].mean() - whole.bound[-200:].mean()) < 4 * spread + 1.0


def test_items_have_draws_of_their_own_also_in_batches(fit: Callable[..., Fit]) -> None:
    samples, truths = fit("idbla", 200, batch_items=20)
    assert samples.sites["easiness"].shape == (1, 200, 45)
    assert samples.sites["easiness"].mean() > 0.7
    assert_allclose(truths.sum(axis=1), 1)
    assert (
        truths.argmax(axis=1) == datasets.load("anesthesia").shares().argmax(axis=1)
    ).mean() > 0.8


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("name", ["hierarchical-dawid-skene", "cbcc"])
def test_every_twin_can_be_run(name: str, small: Votes) -> None:
    samples = svi_pyro.run(
        models_pyro.STORIES[name], small, np.array([-1, 2, -1, -1]), n_steps=30, n_draws=7
    )
    assert samples.bound.shape == (30,) and np.isfinite(samples.bound).all()
    data = models_pyro.vote_data(small, np.array([-1, 2, -1, -1]))
    truths = svi_pyro.truth_posterior(models_pyro.STORIES[name], samples, data)
    assert_array_equal(truths[1], [0, 0, 1])
    assert all(site.shape[:2] == (1, 7) for site in samples.sites.values())


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svi_pyro, "N_ANCHOR_STEPS", 5)


def short(votes: Votes, seed: int = 0, **others: object) -> svi_pyro.Samples:
    story, gold = models_pyro.STORIES["dawid-skene"], np.full(votes.n_items, -1)
    return svi_pyro.run(story, votes, gold, n_steps=20, n_draws=3, seed=seed, **others)


@pytest.mark.usefixtures("hasty")
def test_the_seed_decides_and_nothing_global_is_touched(tiny: Votes) -> None:
    before = torch.get_rng_state()
    one, same, other = short(tiny), short(tiny), short(tiny, seed=1)
    assert_array_equal(one.sites["confusion"], same.sites["confusion"])
    assert not np.array_equal(one.sites["confusion"], other.sites["confusion"])
    assert torch.equal(torch.get_rng_state(), before)
    assert len(pyro.get_param_store()) == 0


@pytest.mark.usefixtures("hasty")
def test_a_run_can_be_watched_and_stopped(tiny: Votes) -> None:
    seen: list[Sweep] = []

    def watch(sweep: Sweep) -> bool:
        seen.append(sweep)
        return sweep.number == 5

    samples = short(tiny, on_step=watch)
    assert [sweep.number for sweep in seen] == [1, 2, 3, 4, 5] and seen[0].of == 20
    assert samples.stopped and not samples.converged and not samples.problems
    assert_array_equal(samples.bound, [sweep.bound for sweep in seen])


@pytest.mark.usefixtures("hasty")
def test_a_bound_that_still_rises_is_told(tiny: Votes) -> None:
    rng = np.random.default_rng(0)
    assert svi_pyro.settled(rng.normal(size=500))
    assert not svi_pyro.settled(rng.normal(size=500) + np.linspace(0, 50, 500))
    story, gold = models_pyro.STORIES["dawid-skene"], np.full(3, -1)
    samples = svi_pyro.run(story, tiny, gold, n_steps=5, n_draws=2)
    assert not samples.converged and "raise n_steps" in samples.problems[0]


def test_a_device_that_is_not_there_is_refused(
    tiny: Votes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError, match="'gpu', but torch sees no GPU"):
        short(tiny, device="gpu")
    with pytest.raises(SettingsError, match="device must be auto, cpu or gpu, not 'tpu'"):
        short(tiny, device="tpu")


def coin(data: models_pyro.VoteData) -> models_pyro.Reading:
    pyro.sample("flip", pyro.distributions.Bernoulli(data.one / 2))
    return models_pyro.STORIES["dawid-skene"](data)


def silent(data: models_pyro.VoteData) -> None:
    models_pyro.STORIES["dawid-skene"](data)


def test_stories_that_cannot_be_inverted_are_refused(tiny: Votes) -> None:
    gold = np.full(3, -1)
    with pytest.raises(StoryError, match="'coin' draws the discrete site 'flip': sum it out"):
        svi_pyro.run(coin, tiny, gold)
    with pytest.raises(StoryError, match="'silent' returns no Reading: end it with"):
        svi_pyro.run(silent, tiny, gold)
