"""Experts who err."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from crowdlearn.errors import SettingsError
from crowdlearn.experts import after_answers, expert_confusion, strong_prior, votes_of
from crowdlearn.online import stream
from crowdlearn.simulate import dawid_skene
from crowdlearn.votes import Votes


def test_an_answer_weighs_by_bayes() -> None:
    posterior = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [1.0, 0.0, 0.0]])
    rows = expert_confusion(0.8, 3)
    assert_allclose(rows.sum(axis=1), 1)
    after = after_answers(posterior, np.array([1, -1, 2]), rows)
    weight = posterior[0] * [0.1, 0.8, 0.1]
    assert_allclose(after, [weight / weight.sum(), posterior[1], posterior[2]])


def test_a_perfect_answer_settles_and_an_impossible_one_changes_nothing() -> None:
    after = after_answers(np.array([[0.6, 0.4], [1.0, 0.0]]), np.array([1, 1]), np.eye(2))
    assert_allclose(after, [[0.0, 1.0], [1.0, 0.0]])


def test_an_expert_in_a_stream_is_a_worker_with_a_strong_prior() -> None:
    """Its vote moves an item as Bayes with its known accuracy does."""
    world = dawid_skene(400, 12, 2, seed=3)
    method = stream("bcc", experts={"judge": strong_prior(0.95, 1e6)})
    state, _ = method.update(method.init(world.votes.classes), world.votes)
    unsure = int(np.argsort(state.posterior().max(axis=1))[0])
    before = state.posterior()[[unsure]]
    vote = Votes.from_codes(
        np.array([0]), np.array([0]), np.array([1]),
        items=[state.items[unsure]], workers=["judge"], classes=world.votes.classes,
    )  # fmt: skip
    state, update = method.update(state, vote)
    expected = after_answers(before, np.array([1]), expert_confusion(0.95, 2))
    assert_allclose(update.posterior, expected, atol=0.02)


@pytest.mark.parametrize("accuracy", [0.0, -0.1, 1.1])
def test_impossible_accuracies_are_refused(accuracy: float) -> None:
    with pytest.raises(SettingsError, match="accuracy of an expert"):
        expert_confusion(accuracy, 2)


def test_a_perfect_expert_is_no_worker() -> None:
    with pytest.raises(SettingsError, match="pass them as answers="):
        strong_prior(1.0)


def test_answers_become_votes_of_the_expert() -> None:
    votes = votes_of("judge", {"a": "y", "b": "x"}, ("x", "y"))
    assert votes.items.to_pylist() == ["a", "b"] and votes.workers.to_pylist() == ["judge"]
    assert_array_equal(votes.label, [1, 0])
    with pytest.raises(SettingsError, match="answer 'z' is not one of x, y"):
        votes_of("judge", {"a": "z"}, ("x", "y"))
