from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from crowdlearn.errors import VotesError
from crowdlearn.votes import Votes

codes = st.integers(1, 40).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, 5), min_size=n, max_size=n)] * 3)
)


def small() -> Votes:
    """Item b has no vote; ann votes twice on c."""
    return Votes.from_codes(
        np.array([2, 0, 2, 2]),
        np.array([0, 1, 0, 1]),
        np.array([1, 0, 0, 1]),
        items=["a", "b", "c"],
        workers=["ann", "bob"],
        classes=["no", "yes"],
    )


@given(codes)
def test_votes_are_kept_in_order_within_their_item(
    columns: tuple[list[int], list[int], list[int]],
) -> None:
    item, worker, label = (np.array(column) for column in columns)
    votes = Votes.from_codes(item, worker, label, items=6, workers=6, classes=6)
    assert (votes.n_items, votes.n_workers, votes.n_classes) == (6, 6, 6)
    assert len(votes) == votes.n_votes == len(item)
    for i in range(6):
        here = votes.votes_of(i)
        assert_array_equal(votes.worker[here], worker[item == i])
        assert_array_equal(votes.label[here], label[item == i])
    assert_array_equal(votes.item, np.sort(item))


@given(codes)
def test_counts_and_indices_agree_with_counting_one_by_one(
    columns: tuple[list[int], list[int], list[int]],
) -> None:
    item, worker, label = (np.array(column) for column in columns)
    votes = Votes.from_codes(item, worker, label, items=6, workers=6, classes=6)
    counts = np.zeros((6, 6))
    for i, k in zip(item, label, strict=True):
        counts[i, k] += 1
    assert_array_equal(votes.counts(), counts)
    assert_array_equal(votes.votes_per_item, counts.sum(axis=1))
    assert_allclose(votes.shares().sum(axis=1), np.ones(6), rtol=1e-12)
    offsets, order = votes.by_worker
    for w in range(6):
        mine = order[offsets[w] : offsets[w + 1]]
        assert_array_equal(mine, np.flatnonzero(votes.worker == w))
        assert len(mine) == votes.votes_per_worker[w]


def test_a_large_column_is_grouped_as_a_small_one() -> None:
    rng = np.random.default_rng(0)
    item, worker, label = (rng.integers(0, most, 150_000) for most in (400, 50, 3))
    votes = Votes.from_codes(item, worker, label)
    order = np.argsort(item, kind="stable")
    assert_array_equal(votes.item, item[order])
    assert_array_equal(votes.worker, worker[order])
    assert_array_equal(votes.label, label[order])


def test_names_are_numbers_where_none_are_given() -> None:
    votes = Votes.from_codes(np.array([0, 2]), np.array([1, 0]), np.array([0, 1]))
    assert votes.items.to_pylist() == ["0", "1", "2"]
    assert votes.classes == ("0", "1")
    assert repr(votes) == "Votes(2 votes, 3 items, 2 workers, 2 classes)"


def test_an_item_without_votes_shares_evenly() -> None:
    assert_array_equal(small().shares(), [[1, 0], [0.5, 0.5], [1 / 3, 2 / 3]])


def test_the_table_has_names_by_item() -> None:
    assert small().to_table().to_pydict() == {
        "task": ["a", "c", "c", "c"],
        "worker": ["bob", "ann", "ann", "bob"],
        "label": ["no", "yes", "no", "yes"],
    }


def test_item_codes_are_found_by_name() -> None:
    assert small().item_code("c") == 2
    with pytest.raises(VotesError, match="there is no item 'x' among the 3 items"):
        small().item_code("x")
    column = np.array([0, 1])
    votes = Votes.from_codes(column, column, column, items=pa.array([7, 9]))
    assert votes.item_code(9) == votes.item_code("9") == 1
    with pytest.raises(VotesError, match="there is no item 'nine'"):
        votes.item_code("nine")


def test_some_workers_and_some_items_keep_the_rest_as_it_was() -> None:
    ann = small().only_workers(np.array([True, False]))
    assert ann.to_table().to_pydict() == {
        "task": ["c", "c"],
        "worker": ["ann", "ann"],
        "label": ["yes", "no"],
    }
    assert ann.n_items == 3 and ann.n_classes == 2
    two = small().only_items(np.array([True, True, False]))
    assert two.items.to_pylist() == ["a", "b"] and two.n_workers == 2
    assert two.to_table().to_pydict() == {"task": ["a"], "worker": ["bob"], "label": ["no"]}


@pytest.mark.parametrize(
    ("item", "worker", "label", "names", "message"),
    [
        ([], [], [], {}, "there are no votes"),
        ([0, -1], [0, 0], [0, 1], {}, "item code -1 is negative"),
        ([0, 1], [0, 3], [0, 1], {"workers": 3}, "worker code 3 is out of range: there are 3"),
        ([0, 1], [0, 0], [0, 2], {"classes": ["x", "y"]}, "label code 2 is out of range"),
        ([0, 1], [0, 0], [0, 0], {"classes": ["x"]}, "all votes say 'x': a single class"),
    ],
)
def test_columns_that_are_no_votes_are_refused(
    item: list[int], worker: list[int], label: list[int], names: dict, message: str
) -> None:
    columns = (np.array(column, dtype=np.int64) for column in (item, worker, label))
    with pytest.raises(VotesError, match=message):
        Votes.from_codes(*columns, **names)
