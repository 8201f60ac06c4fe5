"""Two ways of writing a story agree, and stories that cannot be inverted are refused."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose

from crowdlearn.errors import SettingsError, StoryError
from crowdlearn.inference.target import Target, target_of
from crowdlearn.models import STORIES, items_of, vote_data
from crowdlearn.votes import Votes
from tests.crowdlearn.inference import stories


def two_ways(votes: Votes, gold: np.ndarray | None) -> tuple[Target, Target, Any]:
    data = vote_data(votes, gold)
    parameters = {"right": 2.0, "wrong": 1.0}
    summed = target_of(STORIES["one-coin"], parameters, data)
    return summed, target_of(stories.grid_one_coin, parameters, data), data


def judged(target: Target, z: Any, data: Any) -> tuple[Any, Any, Any]:
    draw = target.constrain(z, data)
    return target.log_joint(z, data), target.truth(draw, data), target.density(draw, data)


@pytest.mark.parametrize("gold", [None, np.array([-1, 1, -1])], ids=["free", "gold"])
def test_a_story_with_explicit_truths_is_the_marginalised_one(
    tiny: Votes, gold: np.ndarray | None
) -> None:
    summed, explicit, data = two_ways(tiny, gold)
    assert explicit.explicit and not summed.explicit
    judges = [jax.jit(lambda z, t=t: judged(t, z, data)) for t in (summed, explicit)]
    for seed in range(3):
        z = summed.start(jax.random.key(seed), data, 2.0)
        for one, other in zip(judges[0](z), judges[1](z), strict=True):
            assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_a_tilt_is_added_to_the_log_probability_of_the_truths(tiny: Votes) -> None:
    summed, explicit, data = two_ways(tiny, None)
    tilt = np.random.default_rng(5).normal(size=(3, 2)).astype(np.float32)
    z = summed.start(jax.random.key(0), data, 1.0)
    anchored, log_joint = jax.jit(summed.anchored), jax.jit(summed.log_joint)
    assert_allclose(jax.jit(explicit.anchored)(z, data, tilt), anchored(z, data, tilt), rtol=1e-5)
    assert_allclose(anchored(z, data, 0 * tilt), log_joint(z, data), rtol=1e-5)
    certain = np.array([[0, -1e30], [-1e30, 0], [0, -1e30]], dtype=np.float32)
    clamped = vote_data(tiny, np.array([0, 1, 0]))
    assert_allclose(anchored(z, data, certain), log_joint(z, clamped), rtol=1e-5)


@pytest.mark.parametrize("name", ["bcc", "idbla"])
def test_the_batches_of_a_partition_average_to_the_whole(name: str, tiny: Votes) -> None:
    data = vote_data(tiny)
    target = target_of(STORIES[name], {}, data)
    z = target.start(jax.random.key(1), data, 1.0)
    log_joint = jax.jit(target.log_joint)
    batches = [items_of(data, np.array([i])) for i in range(3)]
    each = [float(log_joint(z, batch)) for batch in batches]
    assert_allclose(np.mean(each), float(log_joint(z, data)), rtol=1e-5)


@pytest.mark.parametrize(
    "story, error, words",
    [
        (stories.without_truth, StoryError, "no Reading.*'truth'.*marginalise"),
        (stories.with_counts, StoryError, "'n_fakes' .Poisson.*cannot be summed out"),
        (stories.with_too_many_truths, StoryError, "must take 2 values.*plate of 3.*has 3 values"),
        (stories.with_a_switch, StoryError, "'switch'.*sum it out"),
        (stories.without_parameters, StoryError, "draws no parameters"),
        (stories.without_votes, StoryError, "must take the votes as its first argument"),
    ],
)
def test_a_story_that_cannot_be_inverted_is_refused(
    story: Any, error: type[Exception], words: str, tiny: Votes
) -> None:
    with pytest.raises(error, match=words):
        target_of(story, {}, vote_data(tiny))


def test_hyperparameters_are_checked(tiny: Votes) -> None:
    data = vote_data(tiny)
    with pytest.raises(SettingsError, match="'rigth'.*it has right, wrong"):
        target_of(stories.grid_one_coin, {"rigth": 1.0}, data)
    with pytest.raises(SettingsError, match="Beta.*invalid"):
        target_of(stories.grid_one_coin, {"right": -1.0}, data)
    with pytest.raises(SettingsError, match="diagonal must be positive.*improper"):
        target_of(STORIES["bcc"], {"diagonal": 0.0}, data)
