"""Codes over batches are the codes of the whole."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from crowdlearn.reading import coding
from crowdlearn.reading.coding import Coder, compact, encode, missing

batches = st.lists(st.lists(st.sampled_from("abcdefghij"), max_size=12), max_size=8)


@settings(max_examples=200)
@given(batches, st.booleans(), st.integers(0, 20))
def test_batches_are_coded_as_one_column(
    pieces: list[list[str]], rarely_repeat: bool, room: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coding, "ROOM", room)
        coder = Coder()
        for piece in pieces:
            coder.add(encode(pa.array(piece, pa.string()), rarely_repeat=rarely_repeat))
        names, codes = coder.finish()
    whole = [word for piece in pieces for word in piece]
    assert names.to_pylist() == list(dict.fromkeys(whole))
    assert names.take(pa.array(codes)).to_pylist() == whole
    assert codes.dtype == np.int32


def test_names_of_two_types_become_strings() -> None:
    coder = Coder()
    for column in (pa.array([1, 2]), pa.array(["2", "x"]), pa.array([1], pa.int8())):
        coder.add(encode(column))
    names, codes = coder.finish()
    assert names.to_pylist() == ["1", "2", "x"]
    assert_array_equal(codes, [0, 1, 1, 2, 0])


def test_integers_of_every_width_are_one_type_and_huge_ones_strings() -> None:
    for kind in (pa.int8(), pa.uint32(), pa.int64(), pa.float32()):
        assert encode(pa.array([1, 2], kind)).dictionary.equals(pa.array([1, 2]))
    assert encode(pa.array([2**64 - 1], pa.uint64())).dictionary.to_pylist() == [str(2**64 - 1)]
    assert encode(pa.array([True, False])).dictionary.to_pylist() == ["true", "false"]


def test_missing_is_null_or_blank_and_words_for_it_only_in_labels() -> None:
    column = encode(pa.array(["x", "", None, " NaN", "nan", "null", " "]))
    assert_array_equal(missing(column, is_label=True), [0, 1, 1, 1, 1, 1, 1])
    assert_array_equal(missing(column, is_label=False), [0, 1, 1, 0, 0, 0, 0])
    assert missing(encode(pa.array(["x", "y"])), is_label=True) is None
    assert missing(encode(pa.array([1, 2])), is_label=True) is None


def test_unused_and_repeated_entries_of_a_dictionary_leave_no_names() -> None:
    given = pa.DictionaryArray.from_arrays(pa.array([3, 1, 3, 0]), pa.array(["a", "b", "c", "a"]))
    coder = Coder()
    coder.add(encode(given))
    names, codes = coder.finish()
    assert names.to_pylist() == ["a", "b"]
    assert_array_equal(codes, [0, 1, 0, 0])
    kept = compact(encode(given), np.array([False, True, False, False]))
    assert kept.dictionary.to_pylist() == ["b"]
