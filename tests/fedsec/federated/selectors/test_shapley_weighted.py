"""Choice by relative contribution."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from fedsec.errors import SettingsError
from fedsec.federated.selectors import ShapleyWeighted
from tests.fedsec.federated.selectors.histories import played, viewed

COUNTS = np.ones((4, 2), np.int64)


def valued(number: int, chosen: list[int], values: list[float], **found: object) -> object:
    return played(number, chosen, contribution=np.array(values), **found)


def test_a_weight_is_the_share_of_the_last_round_and_a_stranger_weighs_the_mean() -> None:
    """exp(ln 3) is 3 of 4; client 3 never took part."""
    rounds = [valued(1, [0, 1], [0.0, np.log(3)]), valued(2, [2, 0], [5.0, 5.0])]
    weights = ShapleyWeighted().weights(viewed(COUNTS, 2, rounds))
    assert_allclose(weights, [0.5, 0.75, 0.5, 1.75 / 3])


def test_all_weigh_the_same_while_nothing_is_known() -> None:
    assert_allclose(ShapleyWeighted().weights(viewed(COUNTS, 2)), 1)
    refused = valued(1, [0, 1], [1.0, 2.0], refused=(0, 1))
    assert_allclose(ShapleyWeighted().weights(viewed(COUNTS, 2, [refused])), 1)


def test_who_was_refused_or_not_measured_weighs_the_mean() -> None:
    """And does not spoil the shares of the others."""
    one = valued(1, [0, 1, 2, 3], [np.nan, 0.0, 9.0, np.log(3)], refused=(2,))
    assert_allclose(ShapleyWeighted().weights(viewed(COUNTS, 2, [one])), [0.5, 0.25, 0.5, 0.75])


def test_the_choice_follows_the_weights() -> None:
    view = viewed(COUNTS, 1, [valued(1, [0, 1, 2, 3], np.log([1, 2, 3, 4]).tolist())])
    rng, n = np.random.default_rng(0), 2000
    found = np.bincount([ShapleyWeighted()(view, rng)[0] for _ in range(n)]) / n
    expected = np.arange(1, 5) / 10
    assert (np.abs(found - expected) <= 3 * np.sqrt(expected * (1 - expected) / n)).all()


def test_other_shares_can_be_passed_and_must_not_be_negative() -> None:
    view = viewed(COUNTS, 1, [valued(1, [0, 1, 2, 3], [-1.0, 0.0, 1.0, 3.0])])
    clipped = ShapleyWeighted(relative=lambda values: np.maximum(values, 0.0))
    assert_allclose(clipped.weights(view), [0, 0, 1, 3])
    with pytest.raises(SettingsError, match="weight of client 0 is -1.0"):
        ShapleyWeighted(relative=lambda values: values)(view, np.random.default_rng(0))
