"""A replay asks in the order of a shuffle, never for a vote that is not there."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_array_equal

from crowdlearn.aggregators import aggregator
from crowdlearn.evaluation import error
from crowdlearn.experts import fixed_redundancy, simulate_redundancy
from crowdlearn.experts.replay import vote_places, votes_where
from crowdlearn.simulate import dawid_skene

WORLD = dawid_skene(200, 20, 2, seed=5)
BCC = aggregator("bcc")


def test_places_number_the_votes_of_every_item() -> None:
    place = vote_places(WORLD.votes, 3)
    for i in range(200):
        mine = place[WORLD.votes.votes_of(i)]
        assert_array_equal(np.sort(mine), np.arange(len(mine)))
    assert (place != vote_places(WORLD.votes, 4)).any()


def test_a_target_of_nothing_uses_all_votes_and_a_wide_one_the_first() -> None:
    strict = simulate_redundancy(WORLD.votes, WORLD.truth, BCC, 0.0)
    assert strict.n_votes == WORLD.votes.n_votes
    assert strict.error == error(BCC.fit(WORLD.votes).posterior, WORLD.truth)
    wide = simulate_redundancy(WORLD.votes, WORLD.truth, BCC, 1.0)
    votes, wrong = fixed_redundancy(WORLD.votes, WORLD.truth, BCC, 3)
    assert (wide.n_votes, wide.error, wide.rounds, wide.stopped) == (votes, wrong, 1, 1.0)


def test_a_target_between_saves_votes_and_keeps_to_it() -> None:
    found = simulate_redundancy(WORLD.votes, WORLD.truth, BCC, 0.05)
    assert found.n_votes < WORLD.votes.n_votes and found.stopped > 0.5
    assert found.expected_error <= 0.05 + 1e-9
    again = simulate_redundancy(WORLD.votes, WORLD.truth, BCC, 0.05)
    assert found == again


def test_votes_where_keeps_all_names() -> None:
    part = votes_where(WORLD.votes, np.arange(WORLD.votes.n_votes) < 7)
    assert part.n_votes == 7
    assert (part.n_items, part.n_workers) == (200, WORLD.votes.n_workers)
