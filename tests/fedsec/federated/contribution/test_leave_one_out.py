"""The index is the loss without a client less the loss with it."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose

from fedsec.federated.contribution import Exact, LeaveOneOut, RoundGame
from tests.fedsec.federated.contribution.games import additive_game, random_game, rng


def test_by_hand() -> None:
    game = random_game(4, seed=1)
    found = LeaveOneOut()(game, rng())
    expected = [game.value(15) - game.value(15 - (1 << player)) for player in range(4)]
    assert_allclose(found.values, expected)
    assert found.n_evaluations == 5
    assert not found.standard_error.any()


def test_is_the_shapley_value_of_an_additive_game() -> None:
    game = additive_game([3.0, -1.0, 0.5], base=-2.0)
    assert_allclose(LeaveOneOut()(game, rng()).values, Exact()(game, rng()).values)


def test_a_client_that_lowers_the_loss_is_positive() -> None:
    """Utility is minus the loss; the loss is 2, less 1 if client 0 is in, plus 1 if client 1 is."""
    game = RoundGame(2, lambda mask: -(2.0 - (mask & 1) + (mask >> 1)))
    assert_allclose(LeaveOneOut()(game, rng()).values, [1, -1])


def test_the_order_depends_on_the_weights() -> None:
    """Models are numbers, the best one is 0, and the loss is the distance to it.

    The third client has ten times the data and lies on one side, the two others on the other side.
    By size the model follows it, and leaving it out helps; in the plain mean it balances them.
    """
    models, sizes = np.array([-1.0, -1.0, 2.0]), np.array([1.0, 1.0, 10.0])

    def index(weights: np.ndarray) -> np.ndarray:
        def value(mask: int) -> float:
            inside = np.array([bool(mask >> player & 1) for player in range(3)])
            return -abs(float(np.average(models[inside], weights=weights[inside]))) if mask else -9

        return LeaveOneOut()(RoundGame(3, value), rng()).values

    assert index(sizes).argmin() == 2
    assert index(np.ones(3)).argmax() == 2
