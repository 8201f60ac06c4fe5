"""What every world promises: the law of its votes, its marginals, and its streams."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from crowdlearn.errors import SettingsError
from crowdlearn.simulate import WORLDS, World, everyone, fixed_per_item

STORIES = pytest.mark.parametrize("story", WORLDS.values(), ids=WORLDS)


def vote_law(world: World) -> np.ndarray:
    """The probability of each label, vote by vote, from what the world says it drew."""
    votes = world.votes
    item, worker, truth = votes.item, votes.worker, world.truth[votes.item]
    if world.subtype_confusion is not None:
        return world.subtype_confusion[worker, truth, world.subtype[item]]
    law = world.confusion[worker, truth]
    if world.difficulty is not None:
        hard = world.difficulty[item, None]
        return (1 - hard) * law + hard * world.guess
    if world.accuracy_path is not None:
        moments = np.linspace(0, votes.n_items - 1, len(world.accuracy_path))
        paths = [np.interp(np.arange(votes.n_items), moments, p) for p in world.accuracy_path.T]
        right = np.array(paths)[worker, item]
        wrong = (1 - right) / (votes.n_classes - 1)
        law = np.repeat(wrong[:, None], votes.n_classes, axis=1)
        law[np.arange(len(votes)), truth] = right
    return law


@STORIES
def test_labels_follow_the_law_within_four_standard_errors(story):
    world = story(30_000, 12, 4, assign=everyone(missing=0.2), seed=1)
    votes, law = world.votes, vote_law(world)
    assert_allclose(law.sum(axis=1), 1)
    said = np.eye(4)[votes.label]
    cell = votes.worker * 4 + world.truth[votes.item]
    for c in range(4):
        excess = np.bincount(cell, said[:, c] - law[:, c], 48)
        variance = np.bincount(cell, law[:, c] * (1 - law[:, c]), 48)
        assert (np.abs(excess) <= 4 * np.sqrt(variance) + 3).all()


@pytest.mark.parametrize("name", [name for name in WORLDS if "idbla" not in name])
def test_where_nobody_guesses_the_confusion_is_the_share_of_labels(name):
    story = WORLDS[name]
    world = story(30_000, 12, 3, assign=everyone(), seed=2)
    cells = (world.votes.worker * 3 + world.truth[world.votes.item]) * 3 + world.votes.label
    counts = np.bincount(cells, minlength=108).reshape(12, 3, 3)
    shares = counts / counts.sum(axis=2, keepdims=True)
    assert_allclose(shares, world.confusion, atol=4 * np.sqrt(0.25 / counts.sum(axis=2).min()))


@STORIES
def test_truths_have_the_shares_of_the_prior(story):
    world = story(40_000, 10, 3, seed=3)
    error = np.sqrt(world.prior * (1 - world.prior) / 40_000)
    shares = np.bincount(world.truth, minlength=3) / 40_000
    assert (np.abs(shares - world.prior) <= 4 * error).all()


@STORIES
def test_a_world_is_its_seed(story):
    first, again, other = story(seed=5), story(seed=5), story(seed=6)
    assert_array_equal(first.votes.label, again.votes.label)
    assert_array_equal(first.votes.worker, again.votes.worker)
    assert_array_equal(first.confusion, again.confusion)
    assert not np.array_equal(first.truth, other.truth)


@STORIES
def test_the_workload_moves_neither_truth_nor_workers(story):
    few = story(300, 20, 3, assign=fixed_per_item(2), seed=4)
    many = story(300, 20, 3, assign=fixed_per_item(7), seed=4)
    assert_array_equal(few.truth, many.truth)
    assert_array_equal(few.confusion, many.confusion)
    for name in ("difficulty", "subtype", "honest", "leader", "accuracy_path", "population"):
        first, second = getattr(few, name), getattr(many, name)
        assert (first is None) == (second is None)
        if first is not None:
            assert_array_equal(first, second)


@STORIES
def test_shapes_and_distributions(story):
    world = story(50, 11, 4, seed=0)
    votes = world.votes
    assert (votes.n_items, votes.n_workers, votes.n_classes) == (50, 11, 4)
    assert world.confusion.shape == (11, 4, 4)
    assert_allclose(world.confusion.sum(axis=2), 1)
    assert world.confusion.min() >= 0
    assert world.prior.sum() == pytest.approx(1)


@STORIES
@pytest.mark.parametrize(("sizes", "name"), [((0, 10, 3), "n_items"), ((9, 10, 1), "n_classes")])
def test_sizes_without_a_world_are_refused(story, sizes, name):
    with pytest.raises(SettingsError, match=name):
        story(*sizes)
