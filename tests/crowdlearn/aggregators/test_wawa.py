from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose

from crowdlearn.aggregators import aggregator
from crowdlearn.aggregators.wawa import agreement
from crowdlearn.votes import Votes


def test_weights_and_shares_by_hand() -> None:
    """Item 0: a, b say 0, c 1. Item 1: a, c say 1, b 0. Item 2: a says 0, b 1: a tie."""
    votes = Votes.from_codes(
        np.array([0, 0, 0, 1, 1, 1, 2, 2]),
        np.array([0, 1, 2, 0, 1, 2, 0, 1]),
        np.array([0, 0, 1, 1, 0, 1, 0, 1]),
    )
    weight = agreement(votes, votes.shares())
    assert_allclose(weight, [(1 + 1 + 0.5) / 3, (1 + 0 + 0.5) / 3, 0.5])
    fit = aggregator("wawa").fit(votes)
    a, b, c = weight
    assert_allclose(fit.posterior[:, 0], [(a + b) / (a + b + c), b / (a + b + c), a / (a + b)])


def test_ties_stay_ties_and_their_labels_are_drawn_evenly() -> None:
    votes = Votes.from_codes(
        np.repeat(np.arange(2000), 2), np.tile([0, 1], 2000), np.tile([0, 2], 2000)
    )
    fit = aggregator("majority").fit(votes)
    assert_allclose(fit.posterior, np.tile([0.5, 0, 0.5], (2000, 1)))
    assert set(fit.labels) == {0, 2}
    assert abs((fit.labels == 0).mean() - 0.5) < 4 * 0.5 / np.sqrt(2000)
    other = aggregator("majority", seed=1).fit(votes)
    assert 0.4 < (other.labels == fit.labels).mean() < 0.6
