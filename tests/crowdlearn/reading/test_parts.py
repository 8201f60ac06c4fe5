from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdlearn.reading.parts import ahead, numbered


@given(st.lists(st.integers(0, 7), max_size=6), st.integers(1, 5))
def test_batches_are_cut_and_numbered_without_loss(lengths: list[int], most: int) -> None:
    batches = [pa.record_batch({"x": list(range(n)), "y": ["y"] * n}) for n in lengths]
    cut = list(numbered(iter(batches), ["x"], first_row=2, most=most))
    assert [row for batch in cut for row in batch.rows] == list(range(2, 2 + sum(lengths)))
    values = [x for batch in cut for x in batch.columns["x"].to_pylist()]
    assert values == [x for n in lengths for x in range(n)]
    assert all(len(batch.rows) <= most and list(batch.columns) == ["x"] for batch in cut)


def test_what_is_made_ahead_keeps_order_and_errors() -> None:
    def made() -> Iterator[int | None]:
        yield from [1, None, 3]
        raise KeyError("four")

    seen = []
    with pytest.raises(KeyError, match="four"):
        for item in ahead(made()):
            seen.append(item)
    assert seen == [1, None, 3]
    assert list(ahead(iter([]))) == []
    assert next(ahead(iter("ab"))) == "a"  # left early, without a hang
