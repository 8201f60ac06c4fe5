"""One story, several engines, one answer; a story of one's own; and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from crowdlearn import plots
from crowdlearn.aggregation import Aggregation
from crowdlearn.aggregators import aggregator
from crowdlearn.aggregators.engines import ENGINES, Cavi, Gibbs, Nuts, Svi, engine_of
from crowdlearn.datasets import load
from crowdlearn.errors import ConvergenceWarning, SettingsError
from crowdlearn.votes import Votes

pytestmark = pytest.mark.filterwarnings("ignore::crowdlearn.errors.ConvergenceWarning")

MINE = """
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from crowdlearn.models import marginalise


def my_story(data, *, diagonal=2.0):
    prior = numpyro.sample("prior", dist.Dirichlet(jnp.ones(data.n_classes)))
    counts = 1 + (diagonal - 1) * jnp.eye(data.n_classes)
    with numpyro.plate("worker", data.n_workers):
        confusion = numpyro.sample("confusion", dist.Dirichlet(counts).to_event(1))
    numpyro.deterministic("diagonal_mean", jnp.einsum("wkk->w", confusion) / data.n_classes)
    log_vote = jnp.log(confusion.transpose(0, 2, 1)[data.worker, data.label])
    return marginalise(data, jnp.log(prior), log_vote)
"""


def fitted(votes: Votes, gold: Any = None, **settings: Any) -> Aggregation:
    return aggregator("bayes", **settings).fit(votes, gold=gold)


@pytest.fixture(scope="module")
def by_nuts() -> Aggregation:
    inference = Nuts(n_warmup=300, n_draws=500)
    return fitted(load("anesthesia"), story="bcc", inference=inference)


@pytest.mark.slow
def test_nuts_and_gibbs_agree_on_real_votes(by_nuts: Aggregation) -> None:
    gibbs = fitted(by_nuts.votes, story="bcc", inference=Gibbs(n_draws=2000))
    assert_allclose(by_nuts.posterior, gibbs.posterior, atol=0.05)
    assert_allclose(by_nuts.confusion, gibbs.confusion, atol=0.03)
    for bound in ("mean", "low", "high"):
        here, there = (getattr(f.worker_accuracy, bound) for f in (by_nuts, gibbs))
        assert_allclose(here, there, atol=0.03)
    assert by_nuts.draws is not None and by_nuts.draws.sites["confusion"].shape == (4, 500, 5, 4, 4)


def test_fast_engines_are_the_methods_of_this_package(world: tuple[Votes, np.ndarray]) -> None:
    votes, _ = world
    pairs = [
        ("bcc", Gibbs(n_draws=20), "bcc-gibbs", {"n_draws": 20}),
        ("bcc", Cavi(), "bcc", {"max_sweeps": 1000, "tolerance": 1e-6}),
        ("dawid-skene", Cavi(), "bcc", {"diagonal": 1.0}),
        ("idbla", Gibbs(n_draws=20), "idbla-gibbs", {"n_draws": 20}),
        ("cbcc", Gibbs(n_draws=20), "cbcc", {"n_draws": 20}),
        ("bcc-hyper", Gibbs(n_draws=20), "hierarchical", {"n_draws": 20}),
    ]
    for story, engine, method, settings in pairs:
        fit = fitted(votes, story=story, inference=engine)
        assert_array_equal(fit.posterior, aggregator(method, **settings).fit(votes).posterior)
        assert fit.method == "bayes" and fit.settings["story"] == story


def test_ones_own_story_by_svi_is_near_the_variational_method(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: tuple[Votes, np.ndarray]
) -> None:
    (tmp_path / "my_stories.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    votes, _ = world
    inference = Svi(n_steps=1500, batch_items=40, n_draws=200)
    settings = {"story": "my_stories:my_story", "parameters": {"diagonal": 4.0}}
    fit = fitted(votes, inference=inference, **settings)
    vb = aggregator("bcc", diagonal=4.0).fit(votes)
    assert np.abs(fit.posterior - vb.posterior).mean() < 0.02
    assert_allclose(fit.worker_accuracy.mean, vb.worker_accuracy.mean, atol=0.05)
    assert fit.settings == json.loads(json.dumps(fit.settings))
    assert fit.settings["inference"] == {
        "name": "svi",
        "guide": "normal",
        "n_steps": 1500,
        "batch_items": 40,
        "learning_rate": 0.05,
        "n_draws": 200,
    }
    again = aggregator("bayes", **fit.settings)
    assert again.inference == fit.settings["inference"] and engine_of(again.inference) == inference
    assert fit.draws is not None and fit.draws.sites["diagonal_mean"].shape == (1, 200, 12)
    sys.modules.pop("my_stories")


def test_draws_are_saved_and_drawn(by_nuts: Aggregation, tmp_path: Path) -> None:
    by_nuts.save(tmp_path / "fit")
    draws, before = Aggregation.load(tmp_path / "fit").draws, by_nuts.draws
    assert draws is not None and before is not None
    assert draws.sites.keys() == before.sites.keys() == {"prior", "confusion"}
    for name, value in before.sites.items():
        assert_array_equal(draws.sites[name], value)
    assert_array_equal(draws.stats["n_steps"], before.stats["n_steps"])
    found = draws.to_arviz()
    assert found.posterior["confusion"].shape == (4, 500, 5, 4, 4)
    assert "diverging" in found.sample_stats
    _, axes = plots.figure(6, 3, 2)
    plots.trace(axes, draws, "prior")
    assert len(axes[1].lines) >= 16  # four classes by four chains
    _, (ax,) = plots.figure(4, 6)
    plots.forest(ax, draws, "prior")
    assert len(ax.lines) >= 16
    with pytest.raises(SettingsError, match="'wings'.*diagonal, prior, confusion"):
        plots.forest(ax, draws, "wings")


def test_stories_with_item_parameters_tell_the_difficulty(tiny: Votes) -> None:
    fit = fitted(tiny, story="idbla", inference=Svi(n_steps=50, n_draws=50))
    assert fit.difficulty is not None and fit.difficulty.shape == (3,)
    assert ((fit.difficulty > 0) & (fit.difficulty < 1)).all()


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"inference": "magic"}, "'magic' is not one of nuts, svi"),
        ({"inference": {"name": "nuts", "wings": 2}}, "nuts has no setting 'wings'"),
        ({"inference": {"name": "nuts", "n_chains": 0}}, "n_chains must be at least 1"),
        ({"inference": {"name": "svi", "guide": "odd"}}, "guide must be one of normal"),
        ({"seed": True}, "seed must be a whole number"),
        ({"story": 3}, "story must be a name"),
        ({"device": "moon"}, "'moon' is not one of auto, cpu, gpu"),
    ],
)
def test_bad_settings_are_refused_at_once(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        aggregator("bayes", **settings)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"story": "novel"}, "'novel' is not one of multinomial.*'module:function'"),
        ({"story": "nowhere:novel"}, "no module 'nowhere'"),
        ({"story": "json:novel"}, "module 'json' has no function 'novel'"),
        ({"story": "bcc", "parameters": {"diagonal": -1.0}}, "diagonal must be positive.*improper"),
        (
            {"story": "bcc", "parameters": {"wings": 1}},
            "no hyperparameter 'wings'.*it has prior_count",
        ),
        ({"story": "ebcc", "inference": "gibbs"}, "cannot be inverted by gibbs: these can"),
        ({"story": "bcc", "inference": "svi-pyro"}, "has no twin in Pyro"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    settings: dict[str, Any], words: str, tiny: Votes
) -> None:
    with pytest.raises(SettingsError, match=words):
        fitted(tiny, **settings)


def test_a_gpu_that_is_not_there_is_refused(tiny: Votes) -> None:
    import jax

    if jax.default_backend() != "cpu":
        pytest.skip("there is a GPU here")
    with pytest.raises(SettingsError, match="'gpu': JAX sees only cpu"):
        fitted(tiny, story="bcc", device="gpu")


def test_warnings_say_what_would_do(tiny: Votes) -> None:
    with pytest.warns(ConvergenceWarning, match="raise n_steps"):
        fitted(tiny, story="bcc", inference=Svi(n_steps=20, n_draws=5))
    with pytest.warns(ConvergenceWarning, match="'delta' is a single point.*use 'normal'"):
        fitted(tiny, story="bcc", inference=Svi(guide="delta", n_steps=20, n_draws=5))
    assert set(ENGINES) == {"nuts", "svi", "svi-pyro", "gibbs", "cavi"}
