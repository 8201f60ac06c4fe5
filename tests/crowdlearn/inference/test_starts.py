from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from crowdlearn.inference.gibbs import first_truths
from crowdlearn.inference.starts import STARTS, hard_majority, soft_majority
from crowdlearn.votes import Votes


def test_rows_sum_to_one_whatever_the_votes(world: tuple[Votes, np.ndarray]) -> None:
    for start in STARTS.values():
        rows = start(world[0], np.random.default_rng(0))
        assert rows.shape == (120, 3)
        assert_allclose(rows.sum(axis=1), 1)


def test_majorities(tiny: Votes) -> None:
    rng = np.random.default_rng(0)
    assert_allclose(soft_majority(tiny, rng), [[3 / 4, 1 / 4], [1 / 3, 2 / 3], [0, 1]])
    assert_array_equal(hard_majority(tiny, rng), [[1, 0], [0, 1], [0, 1]])


def test_ties_are_drawn(tiny: Votes) -> None:
    votes = Votes.from_codes(
        np.repeat(np.arange(1000), 2), np.tile([0, 1], 1000), np.tile([0, 1], 1000)
    )
    drawn = hard_majority(votes, np.random.default_rng(0))[:, 0].mean()
    assert abs(drawn - 0.5) < 4 * 0.5 / np.sqrt(1000)


def test_first_truths_follow_their_probabilities() -> None:
    p = np.tile([0.2, 0.0, 0.8], (20_000, 1))
    truths = first_truths(p, np.random.default_rng(0))
    assert_array_equal(truths.sum(axis=1), 1)
    assert truths[:, 1].sum() == 0
    assert abs(truths[:, 0].mean() - 0.2) < 4 * np.sqrt(0.16 / 20_000)
