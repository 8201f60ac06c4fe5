"""A replay asks in the order of a shuffle, never for a vote that is not there."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from crowdlearn.aggregators import aggregator
from crowdlearn.errors import SettingsError
from crowdlearn.evaluation import error
from crowdlearn.experts import fixed_redundancy, simulate_redundancy
from crowdlearn.experts.replay import draw_audit, vote_places, votes_where
from crowdlearn.simulate import dawid_skene
from crowdlearn.votes import Votes

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


def test_an_audit_is_two_random_halves_that_do_not_count() -> None:
    truth = np.where(np.arange(200) < 150, WORLD.truth, -1)
    steer, certify = draw_audit(truth, 61, 7)
    assert ((steer >= 0).sum(), (certify >= 0).sum()) == (31, 30)
    assert not ((steer >= 0) & (certify >= 0)).any()
    for half in (steer, certify):
        assert_array_equal(half[half >= 0], truth[half >= 0])
    with pytest.raises(SettingsError, match="from 0 to the 150 items with truth"):
        draw_audit(truth, 151, 0)


def test_an_audited_replay_keeps_to_its_target_where_the_model_is_too_sure() -> None:
    """Workers who copy one another: the model breaks the target, the audit keeps it."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 400).astype(np.int32)
    shared = np.where(rng.random(400) < 0.25, 1 - truth, truth)  # what everybody thinks
    label = np.where(rng.random((400, 10)) < 0.1, 1 - shared[:, None], shared[:, None])
    votes = Votes.from_codes(
        np.repeat(np.arange(400), 10),
        np.tile(np.arange(10), 400),
        label.ravel(),
        classes=("a", "b"),
    )
    runs = range(20)
    plain = [simulate_redundancy(votes, truth, BCC, 0.1, seed=s) for s in runs]
    audited = [simulate_redundancy(votes, truth, BCC, 0.1, n_audited=80, seed=s) for s in runs]
    assert np.mean([r.stopped_error for r in plain]) > 0.2
    assert np.mean([r.stopped_error for r in audited]) < 0.11
    assert {r.n_audited for r in audited} == {80}


def test_votes_where_keeps_all_names() -> None:
    part = votes_where(WORLD.votes, np.arange(WORLD.votes.n_votes) < 7)
    assert part.n_votes == 7
    assert (part.n_items, part.n_workers) == (200, WORLD.votes.n_workers)
