"""The fast kernels read votes as the stories do: two codes, one likelihood, given parameters."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import logsumexp

from crowdlearn.models import vote_data
from crowdlearn.sweeps import sweeper
from crowdlearn.votes import Votes
from tests.crowdlearn.models.conftest import evaluator
from tests.crowdlearn.models.oracles import N_SUBTYPES, ORACLES, draw

pytestmark = pytest.mark.usefixtures("double")


@pytest.mark.parametrize("name", ["dawid-skene", "ebcc", "idbla", "fixed-idbla"])
def test_one_likelihood_and_one_posterior(name: str, small: Votes) -> None:
    gold, sites = np.array([-1, 2, -1, -1], np.int32), draw(ORACLES[name], small, _rng())
    data = vote_data(small, gold)
    _, truths, reading = evaluator(name, tuple(ORACLES[name].parameters.items()))(sites, data)
    expected = logsumexp(reading.evidence(data), axis=1).sum()
    state_class = np.repeat(np.arange(3), N_SUBTYPES if name == "ebcc" else 1)
    home = sweeper(small, gold, state_class=state_class, device="cpu", n_threads=1)
    share = sites.get("share", np.ones((3, 1)))
    prior = (sites["prior"][:, None] * share).ravel()
    by_state = sites["confusion"].reshape(3, -1, 3)  # (worker, state, label)
    table = np.ascontiguousarray(by_state.transpose(0, 2, 1), home.dtype).ravel()
    posterior = home.posterior()
    if "easiness" in sites:
        easy, guess = sites["easiness"], sites.get("guess", np.full(3, 1 / 3))
        sums = home.mixture(prior, table, guess, easy, 1 - easy, posterior, np.zeros(4))
    else:
        sums = home.product(prior, table, posterior)
    by_class = np.asarray(home.read(posterior)).reshape(4, 3, -1).sum(axis=2)
    assert_allclose(sums.bound, expected, rtol=1e-6)
    assert_allclose(by_class, truths, atol=1e-6)


def _rng() -> np.random.Generator:
    return np.random.default_rng(13)
