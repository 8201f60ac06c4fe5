"""The controls: clients that always take part, or never."""

from __future__ import annotations

import numpy as np
import pytest

from fedsec.errors import SettingsError
from fedsec.federated.selectors import Always, Never
from tests.fedsec.federated.selectors.histories import viewed

COUNTS = np.ones((5, 1), np.int64)


def test_always_in_and_the_rest_evenly() -> None:
    n, rng = 1500, np.random.default_rng(0)
    chosen = np.array([Always(ids=(4, 1))(viewed(COUNTS, 3), rng) for _ in range(n)])
    assert (chosen[:, :2] == [4, 1]).all()
    share = np.bincount(chosen[:, 2], minlength=5) / n
    assert share[1] == share[4] == 0
    assert (np.abs(share[[0, 2, 3]] - 1 / 3) <= 3 * np.sqrt(2 / 9 / n)).all()


def test_never_in_and_the_rest_evenly() -> None:
    n, rng = 1500, np.random.default_rng(0)
    chosen = np.array([Never(ids=(4, 1))(viewed(COUNTS, 1), rng) for _ in range(n)])
    share = np.bincount(chosen[:, 0], minlength=5) / n
    assert share[1] == share[4] == 0
    assert (np.abs(share[[0, 2, 3]] - 1 / 3) <= 3 * np.sqrt(2 / 9 / n)).all()


@pytest.mark.parametrize("control", [Always, Never])
def test_a_client_that_does_not_exist_is_named(control: type[Always] | type[Never]) -> None:
    with pytest.raises(SettingsError, match="client 7 does not exist: the clients are 0 to 4"):
        control(ids=(0, 7))(viewed(COUNTS, 2), np.random.default_rng(0))


def test_too_many_or_too_few_are_refused() -> None:
    with pytest.raises(SettingsError, match="3 clients are always chosen and 2 take part"):
        Always(ids=(0, 1, 2))(viewed(COUNTS, 2), np.random.default_rng(0))
    with pytest.raises(SettingsError, match="2 clients are left for the 3 of a round"):
        Never(ids=(0, 1, 2))(viewed(COUNTS, 3), np.random.default_rng(0))
