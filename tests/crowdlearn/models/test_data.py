from __future__ import annotations

import jax
import numpy as np
from numpy.testing import assert_array_equal

from crowdlearn.models import items_of, vote_data
from crowdlearn.votes import Votes


def test_all_votes_are_one_batch(small: Votes) -> None:
    data = vote_data(small, np.array([-1, 2, -1, -1]))
    assert (data.n_here, data.n_items, data.n_workers, data.n_classes) == (4, 4, 3, 3)
    assert data.scale == 1
    assert_array_equal(data.label, small.label)
    assert_array_equal(data.gold, [-1, 2, -1, -1])


def test_a_batch_has_its_items_in_the_order_given_with_all_their_votes(small: Votes) -> None:
    batch = items_of(vote_data(small, np.array([1, -1, 2, -1])), np.array([2, 3, 0]))
    assert_array_equal(batch.item, [0, 0, 2, 2, 2])
    assert_array_equal(batch.worker, [2, 0, 0, 1, 0])
    assert_array_equal(batch.label, [2, 0, 0, 2, 0])
    assert_array_equal(batch.gold, [2, -1, 1])
    assert_array_equal(batch.index, [2, 3, 0])
    assert (batch.n_here, batch.n_items, batch.scale) == (3, 4, 4 / 3)


def test_sizes_stay_known_under_jit(small: Votes) -> None:
    seen = []
    jax.jit(lambda data: seen.append((data.n_items, data.n_here, data.scale)))(vote_data(small))
    assert seen == [(4, 4, 1.0)]
