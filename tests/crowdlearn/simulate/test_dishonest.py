"""Adversaries, spammers and rings do what their stories say, and the others do not."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from crowdlearn.errors import SettingsError
from crowdlearn.simulate import (
    adversarial,
    colluding,
    dawid_skene,
    everyone,
    fixed_per_item,
    spammers,
)


def test_adversaries_say_the_class_after_the_one_they_mean():
    world, honest = adversarial(share=0.3, seed=2), dawid_skene(seed=2)
    assert (~world.honest).sum() == 15
    assert_array_equal(world.confusion[world.honest], honest.confusion[world.honest])
    shifted = honest.confusion[~world.honest][:, :, [2, 0, 1]]
    assert_array_equal(world.confusion[~world.honest], shifted)
    assert_array_equal(world.truth, honest.truth)


def test_spammers_do_not_look():
    world = spammers(share=0.5, habit=0.3, seed=1)
    rows = world.confusion[~world.honest]
    assert len(rows) == 25
    assert_array_equal(rows, rows[:, :1].repeat(3, axis=1))
    assert world.confusion[world.honest][:, 0, 0].min() >= 0.5


def table(world) -> np.ndarray:
    """(item, worker) labels of a world where everybody judges everything."""
    return world.votes.label.reshape(world.votes.n_items, world.votes.n_workers)


def test_perfect_copies_are_copies_and_no_copies_is_dawid_skene():
    ring = colluding(500, 8, 3, n_rings=2, ring_size=3, copying=1.0, assign=everyone(), seed=3)
    assert_array_equal(ring.leader, [0, 0, 0, 3, 3, 3, 6, 7])
    labels = table(ring)
    assert_array_equal(labels, labels[:, ring.leader])
    honest = dawid_skene(500, 8, 3, assign=everyone(), seed=3)
    assert_array_equal(labels[:, [0, 3, 6, 7]], table(honest)[:, [0, 3, 6, 7]])
    none = colluding(500, 8, 3, n_rings=2, ring_size=3, copying=0.0, assign=everyone(), seed=3)
    assert_array_equal(table(none), table(honest))


def test_a_leader_has_one_opinion_even_where_it_does_not_judge():
    ring = colluding(400, 30, 4, n_rings=1, ring_size=30, copying=1.0, assign=fixed_per_item(3))
    rows = ring.votes.label.reshape(400, 3)
    assert_array_equal(rows, rows[:, :1].repeat(3, axis=1))


def test_partial_copies_agree_as_often_as_they_should():
    world = colluding(60_000, 2, 3, n_rings=1, ring_size=2, copying=0.6, assign=everyone(), seed=5)
    own = dawid_skene(10, 2, 3, assign=everyone(), seed=5).confusion
    by_chance = (own[0] * own[1]).sum(axis=1)  # given the truth
    expected = 0.6 + 0.4 * by_chance
    labels = table(world)
    for k in range(3):
        agree = (labels[:, 0] == labels[:, 1])[world.truth == k]
        assert agree.mean() == pytest.approx(expected[k], abs=4 * 0.5 / np.sqrt(len(agree)))
    assert_allclose(world.confusion[1], 0.6 * own[0] + 0.4 * own[1])
    assert_allclose(world.confusion[0], own[0])


def test_settings_out_of_range_are_refused():
    with pytest.raises(SettingsError, match="share is 2"):
        adversarial(share=2.0)
    with pytest.raises(SettingsError, match="habit is 0"):
        spammers(habit=0.0)
    with pytest.raises(SettingsError, match="2 rings of 5 need 10 of 8 workers"):
        colluding(n_workers=8)
    with pytest.raises(SettingsError, match="copying is -1"):
        colluding(copying=-1.0)
