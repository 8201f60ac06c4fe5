"""NUTS draws from the posterior that enumeration gives."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from crowdlearn.aggregation import Sweep
from crowdlearn.aggregators.bcc import dirichlet_prior
from crowdlearn.inference.nuts import run_nuts
from crowdlearn.inference.posterior import Samples, truth_posterior
from crowdlearn.inference.target import Target, target_of
from crowdlearn.models import STORIES, VoteData, vote_data
from crowdlearn.votes import Votes
from tests.crowdlearn.aggregators.oracles import bcc_log_joint, exact_truths


def drawn(votes: Votes, **settings: Any) -> tuple[Target, VoteData, Samples]:
    data = vote_data(votes)
    target = target_of(STORIES["bcc"], {"diagonal": 3.0}, data)
    key = jax.random.key(settings.pop("seed", 0))
    return target, data, run_nuts(target, data, votes.shares(), key, **settings)


@pytest.mark.slow
def test_the_truths_have_the_enumerated_posterior(tiny: Votes) -> None:
    rows = dirichlet_prior(2, 1.0, 3.0)
    exact, _ = exact_truths(tiny, bcc_log_joint(tiny, 1.0, rows), 2)
    target, data, samples = drawn(tiny, n_warmup=400, n_draws=1500)
    chains = truth_posterior(target, samples.sites, data)[:, :, 0]
    spread = chains.std(axis=0, ddof=1) / np.sqrt(len(chains))
    assert (spread < 0.02).all()
    assert (np.abs(chains.mean(axis=0) - exact[:, 0]) < 5 * spread + 0.005).all()
    assert not samples.diverging.any() and (samples.n_steps > 0).all()
    assert samples.sites["confusion"].shape == (4, 1500, 3, 2, 2)
    assert_allclose(samples.sites["confusion"].sum(axis=-1), 1, atol=1e-5)
    assert_allclose(samples.bound[400:], samples.log_density[0], rtol=1e-6)


def test_a_run_can_be_stopped_and_keeps_its_draws(tiny: Votes) -> None:
    def at(number: int) -> Any:
        return lambda sweep: sweep.number == number

    seen: list[Sweep] = []
    _, _, early = drawn(tiny, n_warmup=400, n_draws=1500, on_sweep=at(7))
    _, _, late = drawn(tiny, n_warmup=400, n_draws=1500, on_sweep=at(405))
    drawn(tiny, n_warmup=400, n_draws=1, on_sweep=seen.append)
    assert early.stopped and early.n_draws == 1 and len(early.bound) == 7
    assert late.stopped and late.n_draws == 5 and len(late.bound) == 405
    assert [(s.number, s.of) for s in seen] == [(n, 401) for n in range(1, 402)]


def test_chains_on_threads_draw_what_chains_in_turn_draw(tiny: Votes) -> None:
    in_turn = drawn(tiny, n_chains=2, n_warmup=5, n_draws=5, chain_method="sequential")[2]
    threads = drawn(tiny, n_chains=2, n_warmup=5, n_draws=5, chain_method="parallel", n_threads=2)[
        2
    ]
    assert_array_equal(in_turn.log_density, threads.log_density)
    assert not np.array_equal(in_turn.log_density[0], in_turn.log_density[1])
