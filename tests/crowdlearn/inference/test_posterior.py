"""What is read off a story's draws is what the story says of items and workers."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from numpy.testing import assert_allclose

from crowdlearn.inference.posterior import (
    Samples,
    Tables,
    difficulty_of,
    tables_of,
    truth_posterior,
)
from crowdlearn.inference.target import Target, target_of
from crowdlearn.models import STORIES, VoteData, vote_data
from crowdlearn.votes import Votes
from tests.crowdlearn.inference import stories


def some_draws(
    name: str, votes: Votes, gold: Any = None, n: int = 4
) -> tuple[Target, VoteData, dict[str, np.ndarray]]:
    """A story with draws (chain, draw, ...) from around the origin."""
    data = vote_data(votes, gold)
    target = target_of(STORIES.get(name, stories.grid_one_coin), {}, data)
    keys = jax.random.split(jax.random.key(3), n)
    draw = jax.jit(lambda key: target.constrain(target.start(key, data, 1.5), data))
    draws = [draw(key) for key in keys]
    sites = {s: np.stack([np.asarray(d[s]) for d in draws]) for s in draws[0]}
    return target, data, {s: x.reshape(2, n // 2, *x.shape[1:]) for s, x in sites.items()}


def tables(target: Target, data: VoteData, sites: dict[str, np.ndarray]) -> Tables:
    flat = {n: x.reshape(-1, *x.shape[2:]) for n, x in sites.items()}
    return next(tables_of(target, flat, data, jax.random.key(0)))


def test_the_truths_are_averaged_over_the_draws(tiny: Votes) -> None:
    target, data, sites = some_draws("idbla", tiny, np.array([-1, 0, -1]))
    found = truth_posterior(target, sites, data)
    truth_of = jax.jit(target.truth)
    for chain in range(2):
        draws = [{n: x[chain, d] for n, x in sites.items()} for d in range(2)]
        each = [truth_of(draw, data) for draw in draws]
        assert_allclose(found[chain], np.mean(each, axis=0), atol=1e-5)
    assert_allclose(found[:, 1], [[1, 0], [1, 0]])


def test_confusions_of_dawid_skene_are_its_own_also_of_workers_without_votes(tiny: Votes) -> None:
    votes = Votes.from_codes(tiny.item, tiny.worker, tiny.label, workers=5)
    target, data, sites = some_draws("dawid-skene", votes, np.array([0, 1, 1]))
    prior, confusion = tables(target, data, sites).by_class(2)
    assert_allclose(confusion, sites["confusion"].reshape(4, 5, 2, 2), atol=1e-5)
    assert_allclose(prior, sites["prior"].reshape(4, 2), atol=1e-5)


def test_subtypes_are_averaged_by_their_shares(tiny: Votes) -> None:
    target, data, sites = some_draws("ebcc", tiny)
    _, confusion = tables(target, data, sites).by_class(2)
    rows, share = sites["confusion"].reshape(4, 3, 2, 3, 2), sites["share"].reshape(4, 2, 3)
    assert_allclose(confusion, np.einsum("dwkgc,dkg->dwkc", rows, share), atol=1e-5)


def test_items_are_averaged_over_a_workers_own_votes(tiny: Votes) -> None:
    votes = Votes.from_codes(tiny.item, tiny.worker, tiny.label, workers=4)
    target, data, sites = some_draws("idbla", votes)
    _, confusion = tables(target, data, sites).by_class(2)
    easiness = sites["easiness"].reshape(4, 3)[:, votes.item]
    guess = sites["guess"].reshape(4, 1, 2)
    for w in range(3):
        sees = easiness[:, votes.worker == w].mean(axis=1)[:, None, None]
        own = sites["confusion"].reshape(4, 4, 2, 2)[:, w]
        assert_allclose(confusion[:, w], sees * own + (1 - sees) * guess, atol=1e-5)
    assert_allclose(confusion[:, 3].sum(axis=2), 1, atol=1e-5)


def test_explicit_stories_count_votes_under_their_truths(tiny: Votes) -> None:
    """Many draws of the rows have the mean of their Dirichlets."""
    target, data, sites = some_draws("grid", tiny, n=2)
    many = {n: np.repeat(x[:1, :1], 4000, axis=1) for n, x in sites.items()}
    prior, confusion = tables(target, data, many).by_class(2)
    draw = {n: x[0, 0] for n, x in sites.items()}
    truth = np.asarray(jax.jit(target.truth)(draw, data))
    counts = np.zeros((3, 2, 2))
    np.add.at(counts.transpose(0, 2, 1), (tiny.worker, tiny.label), truth[tiny.item])
    expected = (counts + 0.5) / (counts + 0.5).sum(axis=2, keepdims=True)
    assert_allclose(confusion.mean(axis=0), expected, atol=0.02)
    assert_allclose(prior[0], draw["prior"], atol=1e-5)


def test_difficulty_is_in_the_unit_interval() -> None:
    sites = {"easiness": np.full((2, 3, 4), 0.9)}
    assert_allclose(difficulty_of(sites, 4), 0.1)
    assert_allclose(difficulty_of({"log_easiness": np.zeros((2, 3, 4))}, 4), 0.5)
    assert difficulty_of({"difficulty": np.full((2, 3, 4), 7.0)}, 4) is None
    assert difficulty_of({"prior": np.zeros((2, 3, 4))}, 4) is None
    assert difficulty_of(sites, 5) is None


def test_independent_draws_make_one_chain() -> None:
    samples = Samples.independent({"a": np.zeros((5, 2))}, bound=np.zeros(3))
    assert samples.n_chains == 1 and samples.n_draws == 5
    assert samples.flat()["a"].shape == (5, 2)
