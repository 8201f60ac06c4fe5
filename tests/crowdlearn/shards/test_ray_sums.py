import numpy as np
import pytest

pytest.importorskip("ray")
summed = pytest.importorskip("crowdlearn.shards.ray_sums").summed


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_sum_is_new_and_in_order(n):
    parts = [np.random.default_rng(k).normal(size=9) * 10.0 ** (4 * k) for k in range(n)]
    before, want = [part.copy() for part in parts], parts[0]
    for part in parts[1:]:
        want = want + part
    total = summed(parts)
    np.testing.assert_array_equal(total, want)
    total += 1
    np.testing.assert_array_equal(parts, before)
