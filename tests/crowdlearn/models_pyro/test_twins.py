"""NumPyro and Pyro give one log density: same sites, same hyperparameters, same reading."""

from __future__ import annotations

import functools
import inspect
import subprocess
import sys

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpyro.infer.util import log_density

from crowdlearn import models
from crowdlearn.errors import SettingsError
from crowdlearn.votes import Votes
from tests.crowdlearn.models.oracles import ORACLES, Sites, draw

torch = pytest.importorskip("torch")
pyro = pytest.importorskip("pyro")

from crowdlearn import models_pyro  # noqa: E402

N_POINTS = 100
every_twin = pytest.mark.parametrize("name", models_pyro.STORIES)


def pyro_density(name: str, sites: Sites, data: models_pyro.VoteData) -> tuple[float, np.ndarray]:
    """Log density of constrained parameters and votes, no Jacobians; posterior of the truths."""
    given = {site: torch.tensor(value) for site, value in sites.items()}
    story = functools.partial(models_pyro.STORIES[name], **ORACLES[name].parameters)
    with pyro.poutine.trace() as tracer:
        reading = pyro.condition(story, data=given)(data)
    assert set(sites) <= set(tracer.trace.nodes)
    return float(tracer.trace.log_prob_sum()), reading.truth(data).numpy()


@every_twin
def test_one_log_density(name: str, small: Votes) -> None:
    rng, gold = np.random.default_rng(12), np.array([-1, 2, -1, -1])
    here = models_pyro.vote_data(small, gold, dtype=torch.float64)
    batch = models_pyro.items_of(here, torch.tensor([2, 0]))
    points = [draw(ORACLES[name], small, rng) for _ in range(N_POINTS)]
    twins = [pyro_density(name, point, here) for point in points]
    cut = [{n: v[[2, 0]] if n == "easiness" else v for n, v in p.items()} for p in points]
    batches = [pyro_density(name, point, batch)[0] for point in cut]
    with jax.enable_x64(True):
        there = models.vote_data(small, gold)
        parameters = ORACLES[name].parameters
        density = jax.jit(lambda p, d: log_density(models.STORIES[name], (d,), parameters, p)[0])
        expected = [density(point, there) for point in points]
        of_batch = models.items_of(there, np.array([2, 0]))
        expected_batches = [density(point, of_batch) for point in cut]
    assert_allclose([twin[0] for twin in twins], expected, rtol=1e-5)
    assert_allclose(batches, expected_batches, rtol=1e-5)
    assert np.std(expected) > 1
    assert all(truth[1, 2] == 1 for _, truth in twins)


@every_twin
def test_same_hyperparameters_with_the_same_defaults(name: str) -> None:
    twins = (models.STORIES[name], models_pyro.STORIES[name])
    one, other = (list(inspect.signature(twin).parameters.values())[1:] for twin in twins)
    assert [(p.name, p.default) for p in one] == [(p.name, p.default) for p in other]


@every_twin
def test_improper_hyperparameters_are_refused(name: str, small: Votes) -> None:
    data, story = models_pyro.vote_data(small), models_pyro.STORIES[name]
    for hyper in list(inspect.signature(story).parameters.values())[1:]:
        bad = 0 if isinstance(hyper.default, int) else float("nan")
        with pytest.raises(SettingsError, match=f"^{hyper.name} must be"):
            story(data, **{hyper.name: bad})


def test_a_batch_has_its_items_in_the_order_given_with_all_their_votes(small: Votes) -> None:
    whole = models_pyro.vote_data(small, np.array([1, -1, 2, -1]))
    batch = models_pyro.items_of(whole, torch.tensor([2, 3, 0]))
    assert batch.item.tolist() == [0, 0, 2, 2, 2]
    assert batch.worker.tolist() == [2, 0, 0, 1, 0]
    assert batch.label.tolist() == [2, 0, 0, 2, 0]
    assert batch.gold.tolist() == [2, -1, 1]
    assert (batch.n_here, batch.n_items, batch.scale) == (3, 4, 4 / 3)


def run_code(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], check=False, text=True, capture_output=True)


def test_no_jax_is_needed() -> None:
    done = run_code("import sys, crowdlearn.models_pyro; sys.exit('jax' in sys.modules)")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["models_pyro", "inference.svi_pyro"])
def test_without_pyro_the_extra_is_named(module: str) -> None:
    done = run_code(f"import sys; sys.modules['pyro'] = None; import crowdlearn.{module}")
    assert "pip install 'crowdlearn[pyro]'" in done.stderr
