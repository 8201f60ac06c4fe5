from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_array_equal

from crowdlearn.errors import VotesError
from crowdlearn.gold import gold_codes
from crowdlearn.votes import Votes


@pytest.fixture
def votes() -> Votes:
    zeros = np.zeros(3, dtype=np.int64)
    return Votes.from_codes(
        np.arange(3), zeros, zeros, items=["a", "b", "c"], classes=["cat", "dog"]
    )


def test_names_and_codes_say_the_same(votes: Votes) -> None:
    assert_array_equal(gold_codes(votes, None), [-1, -1, -1])
    assert_array_equal(gold_codes(votes, {}), [-1, -1, -1])
    by_name = gold_codes(votes, {"c": "dog", "a": "cat"})
    assert_array_equal(by_name, [0, -1, 1])
    assert by_name.dtype == np.int32
    given = np.array([0, -1, 1], dtype=np.int64)
    assert_array_equal(gold_codes(votes, given), by_name)
    assert gold_codes(votes, given) is not given


def test_integer_items_and_classes_go_by_any_spelling() -> None:
    codes = np.array([0, 1])
    votes = Votes.from_codes(codes, codes, codes, items=pa.array([10, 20]), classes=["0", "1"])
    for gold in ({20: 0}, {"20": "0"}, {20: "0"}, {np.int64(20): np.int64(0)}):
        assert_array_equal(gold_codes(votes, gold), [-1, 0])


@pytest.mark.parametrize(
    ("gold", "message"),
    [
        ({"a": "cat", "x": "cat"}, "'x' is not among the 3 items"),
        ({"a": "cow"}, "'cow' is not one of cat, dog"),
        (np.array([0, 1]), r"shape \(2,\).*each of the 3 items"),
        (np.zeros((3, 1), dtype=int), r"shape \(3, 1\)"),
        (np.array([0.0, 1.0, -1.0]), "float64, where integer class codes"),
        (np.array([True, False, True]), "bool, where integer class codes"),
        (np.array([0, -1, 2]), r"gold of item 'c' is 2, where -1 \(not gold\) to 1"),
        (np.array([0, -2, 1]), "gold of item 'b' is -2"),
    ],
)
def test_gold_that_cannot_be_is_refused(votes: Votes, gold: object, message: str) -> None:
    with pytest.raises(VotesError, match=message):
        gold_codes(votes, gold)  # type: ignore[arg-type]
