"""What every method promises, and all of them on a round of real digits."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn
from torch.nn.functional import cross_entropy

from fedsec.core.functional import State, call, gradient, state_of
from fedsec.core.record import Update
from fedsec.data.images import Images, load_images
from fedsec.errors import SettingsError
from fedsec.federated.contribution import (
    CONTRIBUTIONS,
    OVER_ROUNDS,
    Exact,
    Gtg,
    MonteCarlo,
    PlayedRound,
    RoundGame,
    accuracy,
    contribution_method,
    negative_loss,
    round_game,
)
from tests.fedsec.federated.contribution.games import additive_game, rng, saturating_game

within = pytest.mark.parametrize("make", CONTRIBUTIONS.values(), ids=CONTRIBUTIONS)
over = pytest.mark.parametrize("make", OVER_ROUNDS.values(), ids=OVER_ROUNDS)


@within
def test_a_result_has_one_row_a_player_and_its_settings(make: type) -> None:
    found = make()(saturating_game([1.0, 0.5, 0.2, 0.1]), rng())
    assert found.values.shape == found.standard_error.shape == (4,)
    assert found.interval.shape == (4, 2)
    assert (found.interval[:, 0] <= found.values).all()
    assert (found.values <= found.interval[:, 1]).all()
    assert CONTRIBUTIONS[found.method] is make
    assert make(**json.loads(json.dumps(found.settings))) == make()


@within
def test_the_same_draws_give_the_same_result(make: type) -> None:
    game = saturating_game([1.0, 0.5, 0.2, 0.1])
    first, second = make()(game, rng(7)), make()(game, rng(7))
    assert_array_equal(first.values, second.values)
    assert_array_equal(first.interval, second.interval)
    assert first.n_evaluations == second.n_evaluations


@within
def test_evaluations_are_the_different_coalitions_asked_for(make: type) -> None:
    asked: list[int] = []

    def value(mask: int) -> float:
        asked.append(mask)
        return float(np.sin(mask) + mask)

    found = make()(RoundGame(5, value), rng())
    assert found.n_evaluations == len(asked) == len(set(asked)) <= 32


@within
def test_a_constant_game_pays_nobody(make: type) -> None:
    assert not make()(RoundGame(3, lambda mask: -2.3), rng()).values.any()


@within
def test_an_additive_game_pays_what_each_is_worth(make: type) -> None:
    worth = [1.0, -0.5, 0.25]
    quick = {"truncation": 0.0} if make is MonteCarlo else {}
    game = additive_game(worth, base=-2.3)
    exact = {"eps_permutation": 0.0} if make is Gtg else quick
    assert_allclose(make(**exact)(game, rng()).values, worth, atol=1e-12)


@within
def test_a_player_alone_gets_all(make: type) -> None:
    found = make()(additive_game([0.7], base=-1.0), rng())
    assert_allclose(found.values, [0.7])
    assert_allclose(found.standard_error, 0, atol=1e-12)


@over
def test_over_rounds_a_result_has_one_row_a_client(make: type) -> None:
    rounds = [
        PlayedRound(saturating_game([1.0, 0.5, 0.2]), np.arange(3)),
        PlayedRound(saturating_game([0.4, 0.8]), np.array([2, 0])),
    ]
    found = make()(rounds, 3, rng())
    again = make()(rounds, 3, rng())
    assert found.values.shape == (3,)
    assert found.interval.shape == (3, 2)
    assert OVER_ROUNDS[found.method] is make
    assert json.loads(json.dumps(found.settings))
    assert_array_equal(found.values, again.values)


def test_methods_by_name() -> None:
    assert contribution_method("gtg", n_guided=2) == Gtg(n_guided=2)
    with pytest.raises(SettingsError, match="'banzhaf' is not one of exact, monte-carlo"):
        contribution_method("banzhaf")
    with pytest.raises(SettingsError, match="leave-one-out has no setting 'rank': it has none"):
        contribution_method("leave-one-out", rank=2)


@pytest.fixture(scope="module")
def digits_round() -> tuple[nn.Module, State, list[Update], Images]:
    """Five clients of uneven size and skewed classes train a linear classifier for a few steps."""
    data = load_images("digits")
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    nn.init.zeros_(net[1].weight)
    nn.init.zeros_(net[1].bias)
    before, generator = state_of(net), torch.Generator().manual_seed(0)
    owns = [(0, 1), (2, 3, 4), (5, 6), (7, 8, 9), tuple(range(10))]
    updates = []
    for client, (classes, n) in enumerate(zip(owns, (60, 90, 30, 120, 100), strict=True)):
        mine = torch.isin(data.train.y, torch.tensor(classes)).nonzero()[:, 0][:n]
        x, y = data.train.x[mine], data.train.y[mine]
        parameters = dict(before.parameters)
        for _ in range(8):
            batch = torch.randint(len(y), (16,), generator=generator)
            leaves = {name: value.requires_grad_() for name, value in parameters.items()}
            state = before.with_parameters(leaves)
            steps = gradient(cross_entropy(call(net, state, x[batch]), y[batch]), leaves)
            parameters = {name: leaves[name].detach() - 0.5 * steps[name] for name in leaves}
        deltas = {
            name: value - before.parameters[name].detach() for name, value in parameters.items()
        }
        updates.append(Update("delta", deltas, round=1, client=client, n=len(y)))
    before = State({n: p.detach() for n, p in before.parameters.items()}, before.buffers)
    return net, before, updates, data.test


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


def test_samplers_are_near_the_exact_value_on_real_digits(
    digits_round: tuple[nn.Module, State, list[Update], Images],
) -> None:
    net, before, updates, test = digits_round
    game = round_game(before, updates, negative_loss(net, test))
    exact = Exact()(game, rng())
    gain = game.value(31) - game.value(0)
    assert gain > 0.3  # it has learned
    assert game.value(0) == pytest.approx(-np.log(10))
    assert exact.values.sum() == pytest.approx(gain, abs=1e-9)
    assert exact.values.argmax() == 4  # the client that has all classes
    for method in (Gtg(), MonteCarlo()):
        found = method(game, rng(1))
        assert cosine(found.values, exact.values) > 0.99
        assert np.abs(found.values - exact.values).max() < 0.1 * np.abs(exact.values).max()
        assert found.n_evaluations <= 32
    assert game.n_evaluations == 32


def test_shares_of_images_classified_right_are_divided_too(
    digits_round: tuple[nn.Module, State, list[Update], Images],
) -> None:
    net, before, updates, test = digits_round
    game = round_game(before, updates, accuracy(net, test))
    exact = Exact()(game, rng()).values
    assert exact.sum() == pytest.approx(game.value(31) - game.value(0), abs=1e-9)
    assert cosine(Gtg()(game, rng()).values, exact) > 0.99
