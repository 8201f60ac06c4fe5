"""Whole draws of a Gibbs method are the draws that its fit adds up."""

from __future__ import annotations

import numpy as np
import pytest
from jax.scipy.special import logsumexp
from numpy.testing import assert_allclose, assert_array_equal

from crowdlearn.aggregators import aggregator
from crowdlearn.errors import SettingsError
from crowdlearn.inference.gibbs_sites import gibbs_sites
from crowdlearn.inference.replicate import flattened, reading_of
from crowdlearn.models import STORIES, vote_data
from crowdlearn.votes import Votes

pytestmark = pytest.mark.filterwarnings("ignore::crowdlearn.errors.ConvergenceWarning")
SHORT = {"n_chains": 2, "n_warmup": 5, "n_draws": 12}


@pytest.mark.parametrize("name", ["bcc-gibbs", "idbla-gibbs", "fixed-idbla-gibbs"])
def test_draws_are_those_of_the_fit(name: str, world: tuple[Votes, np.ndarray]) -> None:
    votes, truth = world
    method, gold = aggregator(name, **SHORT), np.where(np.arange(120) < 3, truth, -1)
    sites, log_density = gibbs_sites(method, votes, gold=gold, n_kept=12)
    fit = method.fit(votes, gold=gold)
    assert_array_equal(log_density, fit.draws.log_density)
    assert_array_equal(sites["prior"], fit.draws.prior)
    diagonal = np.einsum("...kk->...k", sites["confusion"])
    assert_allclose(diagonal, fit.draws.diagonal, rtol=1e-6)
    if name == "bcc-gibbs":
        assert_allclose(sites["confusion"].mean(axis=(0, 1)), fit.confusion, rtol=1e-5)


@pytest.mark.parametrize("name", ["bcc", "idbla"])
def test_the_story_gives_the_draws_their_log_likelihood(name: str, tiny: Votes) -> None:
    sites, log_density = gibbs_sites(aggregator(f"{name}-gibbs", **SHORT), tiny, n_kept=3)
    data, flat = vote_data(tiny), flattened(sites)
    for draw, expected in enumerate(log_density.ravel()):
        one = {key: value[draw] for key, value in flat.items()}
        found = logsumexp(reading_of(STORIES[name], data, one).evidence(data), axis=1).sum()
        assert float(found) == pytest.approx(expected, abs=1e-4)


def test_thinned_draws_are_evenly_spaced_ones(tiny: Votes) -> None:
    method = aggregator("bcc-gibbs", **SHORT)
    every, some = (gibbs_sites(method, tiny, n_kept=n)[0]["prior"] for n in (12, 4))
    assert_array_equal(some, every[:, 2::3])


def test_what_cannot_be_kept_is_refused(tiny: Votes) -> None:
    with pytest.raises(SettingsError, match="majority is no Gibbs sampler"):
        gibbs_sites(aggregator("majority"), tiny)
    with pytest.raises(SettingsError, match="n_kept is 13: from 1 to n_draws"):
        gibbs_sites(aggregator("bcc-gibbs", **SHORT), tiny, n_kept=13)
