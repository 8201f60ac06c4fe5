import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdlearn.sweeps.pool import Pool, available_cores, split


@given(st.integers(0, 200), st.integers(-1, 250))
def test_split_covers_the_range_evenly(n, n_parts):
    parts = split(n, n_parts)
    assert [i for start, stop in parts for i in range(start, stop)] == list(range(n))
    sizes = [stop - start for start, stop in parts]
    assert max(sizes) - min(sizes) <= 1
    assert len(parts) == max(1, min(n_parts, n))


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_results_come_in_the_order_of_the_ranges(n_threads):
    ranges = [(i, i * i) for i in range(40)]
    assert Pool(n_threads).run(lambda a, b: (b, a), ranges) == [(b, a) for a, b in ranges]
    assert Pool(n_threads).run(lambda: 1, []) == []


def test_ranges_run_side_by_side():
    met = threading.Barrier(2, timeout=30)
    assert sorted(Pool(2).run(lambda _: met.wait(), [(0,), (1,)])) == [0, 1]


@pytest.mark.parametrize("n_threads", [1, 3])
def test_an_error_in_one_range_reaches_the_caller(n_threads):
    with pytest.raises(ZeroDivisionError):
        Pool(n_threads).run(lambda i: 1 // (i - 3), [(i,) for i in range(6)])


def test_no_number_of_threads_means_every_core_of_this_process():
    assert Pool().n_threads == available_cores() >= 1
