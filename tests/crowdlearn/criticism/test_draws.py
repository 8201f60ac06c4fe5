"""Draws for criticism are the draws of the method they come from."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from crowdlearn.aggregators import aggregator
from crowdlearn.criticism import posterior_draws
from crowdlearn.errors import SettingsError, StoryError
from crowdlearn.inference.gibbs_sites import gibbs_sites
from crowdlearn.models import STORIES, VoteData
from crowdlearn.votes import Votes

LENGTHS = {"n_chains": 2, "n_warmup": 5, "n_draws": 4}


def test_conjugate_stories_are_drawn_by_gibbs(tiny: Votes) -> None:
    found = posterior_draws("dawid-skene", tiny, parameters={"count": 0.5}, **LENGTHS)
    counts = {"prior_count": 0.5, "off_diagonal": 0.5, "diagonal": 0.5}
    method = aggregator("bcc-gibbs", n_chains=2, n_warmup=5, n_draws=16, **counts)
    sites, log_density = gibbs_sites(method, tiny, n_kept=4)
    assert_array_equal(found.sites["confusion"], sites["confusion"])
    assert_array_equal(found.log_density, log_density)
    assert "raise n_draws" in "".join(found.problems) and "resume" not in "".join(found.problems)


@pytest.mark.slow
def test_other_stories_are_drawn_by_nuts_and_gold_is_kept(tiny: Votes) -> None:
    for story in ("one-coin", STORIES["one-coin"], "crowdlearn.models:one_coin"):
        found = posterior_draws(story, tiny, gold={"0": "1"}, **LENGTHS)
        assert found.sites["ability"].shape == (2, 4, 3)
        assert_array_equal(found.gold, [1, -1, -1])
        assert found.log_density.shape == (2, 4)


def undecided(data: VoteData) -> None:
    import numpyro
    import numpyro.distributions as dist

    prior = numpyro.sample("prior", dist.Dirichlet(np.ones(2)))
    with numpyro.plate("item", data.n_items):
        numpyro.sample("truth", dist.Categorical(prior))


def test_stories_that_cannot_be_criticised_are_refused(tiny: Votes) -> None:
    with pytest.raises(SettingsError, match="'oracle' is not one of multinomial"):
        posterior_draws("oracle", tiny)
    with pytest.raises(SettingsError, match="no hyperparameter 'wings'"):
        posterior_draws("bcc", tiny, parameters={"wings": 2})
    with pytest.raises(StoryError, match="undecided.*draws its truths itself"):
        posterior_draws(undecided, tiny)
