"""Leave-one-out equals what really leaving a vote out gives."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import arviz
import numpy as np
import pytest
from numpy.testing import assert_allclose

from crowdlearn.aggregators.bcc import dirichlet_prior
from crowdlearn.criticism import Loo, compare, loo, vote_log_probabilities
from crowdlearn.errors import SettingsError
from crowdlearn.models import STORIES
from crowdlearn.votes import Votes
from tests.crowdlearn.aggregators.oracles import bcc_log_joint, exact_truths

ROWS = dirichlet_prior(2, 1.0, 2.0)
BCC = STORIES["bcc"]


def without(votes: Votes, vote: int) -> Votes:
    item, worker, label = (np.delete(x, vote) for x in (votes.item, votes.worker, votes.label))
    return Votes.from_codes(item, worker, label, items=3, workers=3, classes=2)


def exact_draws(votes: Votes, n: int, seed: int) -> dict[str, np.ndarray]:
    """Independent draws from the posterior of BCC, by enumeration of the truths."""
    rng, log_joint = np.random.default_rng(seed), bcc_log_joint(votes, 1.0, ROWS)
    worlds = np.array(np.meshgrid(*[[0, 1]] * votes.n_items)).reshape(votes.n_items, -1).T
    logs = np.array([log_joint(world) for world in worlds])
    weights = np.exp(logs - logs.max())
    chosen = worlds[rng.choice(len(worlds), n, p=weights / weights.sum())]
    prior, confusion = [], []
    for truth in chosen:
        counts = np.zeros((votes.n_workers, 2, 2))
        np.add.at(counts, (votes.worker, truth[votes.item], votes.label), 1)
        drawn = rng.gamma(counts + ROWS)
        confusion.append(drawn / drawn.sum(axis=2, keepdims=True))
        prior.append(rng.dirichlet(np.bincount(truth, minlength=2) + 1.0))
    return {"prior": np.array(prior)[None], "confusion": np.array(confusion)[None]}


@pytest.fixture(scope="module")
def few() -> Votes:
    """The votes of `tiny`."""
    item, worker = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2]), np.array([0, 1, 2, 2, 0, 1, 2, 0, 1])
    return Votes.from_codes(item, worker, np.array([0, 0, 1, 0, 1, 0, 1, 1, 1]))


@pytest.fixture(scope="module")
def runs(few: Votes) -> list[Loo]:
    return [loo(BCC, few, exact_draws(few, 2000, seed)) for seed in range(8)]


def test_it_is_the_ratio_of_the_enumerated_evidences(few: Votes, runs: list[Loo]) -> None:
    _, whole = exact_truths(few, bcc_log_joint(few, 1.0, ROWS), 2)
    exact = []
    for vote in range(few.n_votes):
        rest = without(few, vote)
        exact.append(whole - exact_truths(rest, bcc_log_joint(rest, 1.0, ROWS), 2)[1])
    found = np.stack([run.elpd_vote for run in runs])
    error = found.std(axis=0, ddof=1) / np.sqrt(len(runs))
    assert error.max() < 0.01
    assert (np.abs(found.mean(axis=0) - exact) < 4 * error + 1e-3).all()
    assert runs[0].n_bad == 0 and runs[0].elpd == pytest.approx(sum(exact), abs=0.2)


def test_under_one_draw_it_is_the_ratio_of_two_likelihoods(few: Votes) -> None:
    """p(vote | others, draw) by leaving the vote out of the data."""
    sites = exact_draws(few, 20, 3)
    found = vote_log_probabilities(BCC, few, sites)

    def log_likelihood(votes: Votes, draw: int) -> float:
        prior, confusion = sites["prior"][0, draw], sites["confusion"][0, draw]
        chances = np.ones((votes.n_items, 1)) * prior
        np.multiply.at(chances, votes.item, confusion[votes.worker, :, votes.label])
        return float(np.log(chances.sum(axis=1)).sum())

    for draw, vote in ((0, 0), (7, 3), (19, 8)):
        rest = without(few, vote)
        expected = log_likelihood(few, draw) - log_likelihood(rest, draw)
        assert found[draw, vote] == pytest.approx(expected, abs=1e-5)


def test_numbers_are_those_of_arviz(few: Votes) -> None:
    sites = exact_draws(few, 2000, 0)
    here = loo(BCC, few, sites)
    by_vote = vote_log_probabilities(BCC, few, sites).astype(np.float64)
    data = arviz.from_dict(
        posterior={"prior": sites["prior"]}, log_likelihood={"votes": by_vote[None]}
    )
    there = arviz.loo(data, pointwise=True)
    assert_allclose(here.elpd_vote, there.loo_i.values, rtol=1e-6)
    assert_allclose(here.pareto_k, there.pareto_k.values, rtol=1e-6)
    assert_allclose([here.elpd, here.se, here.p_loo], [there.elpd_loo, there.se, there.p_loo])
    assert here.good_k == there.good_k


def test_parts_give_what_the_whole_gives(
    few: Votes, runs: list[Loo], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("crowdlearn.criticism.loo"), "MAX_ENTRIES", 4 * 2000)
    assert_allclose(
        loo(BCC, few, exact_draws(few, 2000, 0)).elpd_vote, runs[0].elpd_vote, rtol=1e-5
    )


def test_dependent_draws_widen_the_tail(few: Votes) -> None:
    """Fewer effective draws: more of them go into the fitted tail."""
    sites = exact_draws(few, 1000, 0)
    slow = np.cumsum(np.random.default_rng(0).normal(size=(1, 1000)), axis=1)
    free, dependent = loo(BCC, few, sites), loo(BCC, few, sites, log_density=slow)
    assert not np.allclose(free.pareto_k, dependent.pareto_k)
    assert_allclose(free.elpd_vote, dependent.elpd_vote, atol=0.05)


def test_the_right_story_wins(few: Votes, runs: list[Loo]) -> None:
    rng = np.random.default_rng(0)
    blind: dict[str, Any] = {
        "prior": rng.dirichlet([1, 1], (1, 500)),
        "confusion": np.full((1, 500, 3, 2, 2), 0.5) + 0.4 * np.array([[-1, 1], [1, -1]]),
    }
    table = compare({"blind": loo(BCC, few, blind), "bcc": runs[0]}).to_pydict()
    assert table["story"] == ["bcc", "blind"]
    assert table["difference"][0] == 0 and table["difference"][1] < 0
    assert table["weight"][0] > 0.5 and sum(table["weight"]) == pytest.approx(1)


def test_votes_that_cannot_be_left_out_are_counted_and_explained(runs: list[Loo]) -> None:
    good = runs[0]
    bad = Loo(-7.0, 1.0, 1.0, good.elpd_vote, np.where(np.arange(9) < 2, 0.9, 0.1), 2000, 0.7)
    assert good.advice.startswith("all 9 left-out votes are estimated well")
    assert bad.n_bad == 2 and bad.advice.startswith("2 of 9 votes change the posterior too much")


def test_what_cannot_be_compared_is_refused(few: Votes, runs: list[Loo]) -> None:
    with pytest.raises(SettingsError, match="99 draws are too few.*100"):
        loo(BCC, few, exact_draws(few, 99, 0))
    with pytest.raises(SettingsError, match="two stories or more.*'one': 9"):
        compare({"one": runs[0]})
