"""Weighted choice without replacement."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from fedsec.errors import SettingsError
from fedsec.federated.selectors import weighted_reservoir


def drawn(p: list[float], k: int, n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.array([weighted_reservoir(np.array(p), k, rng) for _ in range(n)])


def test_one_of_three_is_chosen_with_its_probability() -> None:
    p, n = np.array([0.5, 0.3, 0.2]), 3000
    found = np.bincount(drawn(p.tolist(), 1, n)[:, 0]) / n
    assert (np.abs(found - p) <= 3 * np.sqrt(p * (1 - p) / n)).all()


def test_pairs_are_as_if_drawn_one_after_the_other() -> None:
    """All ordered pairs, enumerated: p_i * p_j / (1 - p_i); weights need no sum."""
    p, n = np.array([0.5, 0.3, 0.15, 0.05]), 4000
    found = drawn((7 * p).tolist(), 2, n)
    for i, j in permutations(range(4), 2):
        expected = p[i] * p[j] / (1 - p[i])
        error = np.sqrt(expected * (1 - expected) / n)
        assert abs((found == [i, j]).all(axis=1).mean() - expected) <= 3.5 * error


def test_the_largest_keys_of_the_paper_are_chosen() -> None:
    """u ** (1 / p), from the same random numbers."""
    p = np.random.default_rng(0).random(20)
    u = np.exp(-np.random.default_rng(1).standard_exponential(20))
    chosen = weighted_reservoir(p, 7, np.random.default_rng(1))
    assert_array_equal(chosen, np.argsort(-(u ** (1 / p)))[:7])


@pytest.mark.parametrize("scale", [1e-307, 1e300])
def test_tiny_and_huge_weights_keep_their_ratio(scale: float) -> None:
    found = drawn([2 * scale, scale], 1, 1500)[:, 0].mean()
    assert abs(found - 1 / 3) <= 3 * np.sqrt(2 / 9 / 1500)


def test_weight_zero_is_chosen_only_where_needed_and_then_evenly() -> None:
    found = drawn([0.0, 1e-300, 0.0, 2.0, 0.0], 3, 1500)
    assert (np.sort(found[:, :2], axis=1) == [1, 3]).all()
    share = np.bincount(found[:, 2], minlength=5) / 1500
    assert (np.abs(share[[0, 2, 4]] - 1 / 3) <= 3 * np.sqrt(2 / 9 / 1500)).all()
    assert len(weighted_reservoir(np.zeros(0), 0, np.random.default_rng(0))) == 0


def test_what_is_no_weight_names_the_client() -> None:
    for wrong in (-1.0, np.nan, np.inf):
        with pytest.raises(SettingsError, match=f"the weight of client 1 is {wrong}"):
            weighted_reservoir(np.array([1.0, wrong]), 1, np.random.default_rng(0))
    with pytest.raises(SettingsError, match="cannot choose 3 different clients of 2"):
        weighted_reservoir(np.ones(2), 3, np.random.default_rng(0))
