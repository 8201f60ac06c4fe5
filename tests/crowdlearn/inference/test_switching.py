"""Classes that bear each other's names are found and put right, where that is well defined."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from crowdlearn.inference.posterior import Samples, truth_posterior
from crowdlearn.inference.switching import best_order, undo_switching
from crowdlearn.inference.target import Target, target_of
from crowdlearn.models import STORIES, VoteData, vote_data
from crowdlearn.votes import Votes

ORDERS = ([0, 1, 2], [1, 0, 2], [2, 0, 1])


def switched(
    name: str, votes: Votes, gold: np.ndarray | None = None
) -> tuple[Target, VoteData, Samples, Samples]:
    """Sensible draws, and the same with classes renamed in all chains but the first."""
    data = vote_data(votes, gold)
    target = target_of(STORIES[name], {}, data)
    draw = target.constrain(target.start(jax.random.key(0), data, 0.5), data)
    right = {n: np.asarray(x) for n, x in draw.items()}
    right["confusion"] = 0.6 * np.eye(3, dtype=np.float32) + 0.4 * right["confusion"]
    before = {n: np.stack([np.stack([x] * 2)] * 3) for n, x in right.items()}
    after = {n: x.copy() for n, x in before.items()}
    for chain, order in enumerate(ORDERS):
        after["prior"][chain] = after["prior"][chain][..., order]
        after["confusion"][chain] = after["confusion"][chain][..., order, :]
    return target, data, _samples(before), _samples(after)


def _samples(sites: dict[str, np.ndarray]) -> Samples:
    return Samples(
        sites=sites,
        log_density=np.zeros((3, 2)),
        bound=np.zeros(2),
        diverging=np.zeros((3, 2), dtype=bool),
        n_steps=np.ones((3, 2), dtype=np.int64),
    )


@pytest.mark.parametrize("name", ["dawid-skene", "idbla"])
def test_switched_draws_of_a_symmetric_story_are_put_right(
    name: str, world: tuple[Votes, np.ndarray]
) -> None:
    target, data, right, wrong = switched(name, world[0])
    found, problems = undo_switching(target, wrong, data, world[0].shares())
    assert problems == ()
    for site in right.sites:
        assert_allclose(found.sites[site], right.sites[site], atol=1e-6)
    truths = truth_posterior(target, found.sites, data)
    assert_allclose(truths[1], truths[0], atol=1e-5)


@pytest.mark.parametrize("known", [False, True], ids=["asymmetric prior", "gold"])
def test_what_cannot_be_undone_is_reported(known: bool, world: tuple[Votes, np.ndarray]) -> None:
    gold = np.where(np.arange(120) < 10, world[1], -1) if known else None
    name = "dawid-skene" if known else "bcc"
    target, data, _, wrong = switched(name, world[0], gold)
    found, problems = undo_switching(target, wrong, data, world[0].shares())
    assert found is wrong
    assert "chains 1, 2 ended with classes swapped" in problems[0] and "gold" in problems[0]


def test_draws_that_agree_are_left_alone(world: tuple[Votes, np.ndarray]) -> None:
    target, data, right, _ = switched("dawid-skene", world[0])
    assert undo_switching(target, right, data, world[0].shares()) == (right, ())


def test_the_best_order_undoes_a_permutation() -> None:
    table = np.diag([0.5, 0.3, 0.2])
    for order in ORDERS:
        assert_array_equal(table[order][best_order(table[order])], table)
    assert_array_equal(best_order(np.array([[0.25, 0.26], [0.24, 0.25]])), [0, 1])
