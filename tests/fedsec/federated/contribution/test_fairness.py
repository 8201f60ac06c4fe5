"""Shares are shares, and what matches the data is fair."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose

from fedsec.errors import SettingsError
from fedsec.federated.contribution import (
    client_fairness,
    clipped_shares,
    data_share,
    relative_contribution,
    shifted_shares,
    softmax_shares,
    system_fairness,
)

KINDS = [softmax_shares, shifted_shares, clipped_shares]
VALUES = arrays(np.float64, st.integers(1, 12), elements=st.floats(-5, 5))


@pytest.mark.parametrize("kind", KINDS)
@given(values=VALUES)
def test_shares_are_at_least_zero_and_sum_to_one(kind: Callable, values: np.ndarray) -> None:
    shares = relative_contribution(values, kind)
    assert shares.min() >= 0
    assert shares.sum() == pytest.approx(1)


@pytest.mark.parametrize("kind", KINDS)
@given(values=VALUES)
def test_who_contributed_more_gets_no_less(kind: Callable, values: np.ndarray) -> None:
    shares = relative_contribution(values, kind)
    order = np.argsort(values)
    assert (np.diff(shares[order]) >= -1e-12).all()


def test_shares_by_hand() -> None:
    values = np.array([-1.0, 1.0, 2.0])
    assert_allclose(relative_contribution(values), np.exp(values) / np.exp(values).sum())
    assert_allclose(relative_contribution(values, shifted_shares), [0, 0.4, 0.6])
    assert_allclose(relative_contribution(values, clipped_shares), [0, 1 / 3, 2 / 3])


@pytest.mark.parametrize("kind", KINDS)
def test_equal_contributions_are_equal_shares(kind: Callable) -> None:
    assert_allclose(relative_contribution(np.full(4, -0.3), kind), 0.25)


@given(arrays(np.int64, st.integers(1, 12), elements=st.integers(0, 1000)).filter(np.any))
def test_credit_as_the_data_is_perfectly_fair(n: np.ndarray) -> None:
    share = data_share(n)
    assert share.sum() == pytest.approx(1)
    assert_allclose(client_fairness(share, share), 1)
    assert system_fairness(share[None], share[None]) == 1


def test_fairness_by_hand() -> None:
    relative = np.array([[0.5, 0.5], [0.0, 1.0]])
    share = np.array([[0.25, 0.75], [1.0, 0.0]])
    assert_allclose(client_fairness(relative[0], share[0]), [0.75, 0.75])
    assert system_fairness(relative, share) == pytest.approx(1 - (0.5 + 2) / 4)


def test_what_has_no_shares_is_refused() -> None:
    for values in ([], [1.0, np.nan]):
        with pytest.raises(SettingsError, match="finite"):
            relative_contribution(np.array(values))
    for n in ([0, 0], [3, -1]):
        with pytest.raises(SettingsError, match="from 0 on"):
            data_share(np.array(n))
    with pytest.raises(SettingsError, match="no round"):
        system_fairness(np.empty((0, 3)), np.empty((0, 3)))
