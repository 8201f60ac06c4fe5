"""The ledger holds every vote once, and finds the votes of an item wherever they came."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from crowdlearn.errors import VotesError
from crowdlearn.online.ledger import Ledger
from crowdlearn.simulate import World
from crowdlearn.votes import Votes
from tests.crowdlearn.online.conftest import batches


def rows(votes: Votes) -> list[tuple[str, str, str]]:
    table = votes.to_table()
    columns = (table[name].to_pylist() for name in ("task", "worker", "label"))
    return sorted(zip(*columns, strict=True))


@pytest.mark.parametrize("by_vote", [False, True])
def test_all_votes_are_there_however_they_came(crowd: World, by_vote: bool) -> None:
    ledger = Ledger(())
    for batch in batches(crowd.votes, 13, by_vote=by_vote):
        touched = ledger.add(batch, {})
        assert set(ledger.names(touched.item).to_pylist()) == set(batch.items.to_pylist())
    assert rows(ledger.votes()) == rows(crowd.votes)
    some = ledger.touched(np.array([5, 2]))
    for place, item in enumerate((5, 2)):
        mine = slice(some.offsets[place], some.offsets[place + 1])
        assert_array_equal(some.vote[mine], np.flatnonzero(ledger.item.live == item))
        assert_array_equal(some.rows[some.row[mine]], some.worker[mine])


def test_new_classes_workers_and_items_come_with_a_batch() -> None:
    ledger = Ledger(("a", "b"))
    first = Votes.from_codes(*np.array([[0, 1], [0, 0], [0, 1]]), classes=("b", "a"))
    codes = np.array([[0, 1], [0, 1], [1, 0]])
    second = Votes.from_codes(*codes, items=["1", "9"], classes=["a", "c"])
    ledger.add(first, {"1": "b"})
    touched = ledger.add(second, {})
    assert ledger.classes == ("a", "b", "c") and ledger.item_names == ["0", "1", "9"]
    assert_array_equal(ledger.label.live, [1, 0, 2, 0])
    assert_array_equal(touched.gold, [1, -1])
    assert_array_equal(np.diff(touched.offsets), [2, 1])


@pytest.mark.parametrize(
    ("answers", "found"),
    [({"9": "a"}, "'9': no vote has named that item"), ({"0": "z"}, "'z' is not one of a, b")],
)
def test_a_wrong_answer_leaves_everything_as_it_was(answers: dict[str, str], found: str) -> None:
    ledger = Ledger(())
    votes = Votes.from_codes(*np.array([[0], [0], [0]]), classes=("a", "b"))
    with pytest.raises(VotesError, match=found):
        ledger.add(votes, answers)
    assert (ledger.n_votes, ledger.n_items, ledger.classes) == (0, 0, ())
    ledger.add(votes, {})
    with pytest.raises(VotesError, match=found):
        ledger.add(None, answers)
