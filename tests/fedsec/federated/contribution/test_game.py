"""A coalition's model is the server's, values are computed once, and bad updates are named."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import nn

from fedsec.core.functional import State, state_of
from fedsec.core.record import Update
from fedsec.data.images import Images
from fedsec.errors import SettingsError, UpdateError
from fedsec.federated.aggregate import apply_updates, by_samples, uniform
from fedsec.federated.contribution import (
    RoundGame,
    accuracy,
    coalition_models,
    negative_loss,
    round_game,
)
from fedsec.federated.contribution.game import members
from fedsec.metrics.classification import evaluate


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(27, 4))


def updates_of(before: State, n: Sequence[int], *, buffers: bool = True) -> list[Update]:
    generator = torch.Generator().manual_seed(1)

    def noise(value: torch.Tensor) -> torch.Tensor:
        return torch.randn(value.shape, generator=generator)

    return [
        Update(
            kind="delta",
            tensors={name: noise(value) for name, value in before.parameters.items()},
            round=3,
            client=10 + k,
            n=size,
            buffers={
                name: noise(value).abs() if value.is_floating_point() else torch.tensor(7 * (k + 1))
                for name, value in before.buffers.items()
            }
            if buffers
            else {},
        )
        for k, size in enumerate(n)
    ]


def assert_same(first: State, second: State) -> None:
    for one, other in ((first.parameters, second.parameters), (first.buffers, second.buffers)):
        assert list(one) == list(other)
        for name, value in one.items():
            assert value.dtype == other[name].dtype
            assert torch.allclose(value, other[name], atol=1e-6), name


@pytest.mark.parametrize("weighting", [by_samples, uniform])
def test_the_model_of_every_coalition_is_the_servers(net: nn.Module, weighting: Callable) -> None:
    before = state_of(net)
    updates = updates_of(before, [5, 1, 20])
    model = coalition_models(before, updates, weighting)
    for mask in range(8):
        inside = [updates[player] for player in members(mask)]
        assert_same(model(mask), apply_updates(before, inside, weighting))


def test_the_model_is_the_weighted_average_of_the_clients_models(net: nn.Module) -> None:
    before = state_of(net)
    updates = updates_of(before, [5, 1, 20])
    made = coalition_models(before, updates)(0b101).parameters
    for name, value in before.parameters.items():
        first, third = value + updates[0].tensors[name], value + updates[2].tensors[name]
        assert torch.allclose(made[name], (5 * first + 20 * third) / 25, atol=1e-6)


def test_buffers_that_nobody_sent_stay(net: nn.Module) -> None:
    before = state_of(net)
    made = coalition_models(before, updates_of(before, [5, 1], buffers=False))(0b11)
    assert_same(State({}, made.buffers), State({}, before.buffers))


def test_the_model_before_and_the_updates_are_left_alone(net: nn.Module) -> None:
    before = state_of(net)
    kept, updates = before.clone(), updates_of(before, [5, 1])
    sent = [value.clone() for one in updates for value in one.tensors.values()]
    coalition_models(before, updates)(0b11)
    assert_same(before, kept)
    now = [value for one in updates for value in one.tensors.values()]
    assert all(torch.equal(a, b) for a, b in zip(sent, now, strict=True))


def test_utilities_are_those_of_evaluate(net: nn.Module) -> None:
    images = Images(torch.rand(30, 1, 5, 5), torch.arange(30) % 4)
    before = state_of(net)
    found = evaluate(net, before, images)
    game = round_game(before, updates_of(before, [5, 1]), negative_loss(net, images))
    assert game.value(0) == -found.loss
    assert accuracy(net, images)(before) == found.accuracy
    assert game.value(3) != game.value(0)


def test_a_value_is_computed_once_and_views_count_for_themselves() -> None:
    asked: list[int] = []

    def value(mask: int) -> float:
        asked.append(mask)
        return float(mask)

    game = RoundGame(3, value)
    assert [game.value(5), game.value(5), game.value(0)] == [5, 5, 0]
    view = game.counted()
    assert [view.value(5), view.value(7), view.value(7)] == [5, 7, 7]
    assert asked == [5, 0, 7]
    assert (game.n_evaluations, view.n_evaluations) == (3, 2)
    assert game.everyone == 7


def test_members_of_large_masks() -> None:
    assert members(1 << 99 | 1) == [0, 99]
    assert members(0) == []


def test_bad_games_are_refused(net: nn.Module) -> None:
    with pytest.raises(SettingsError, match="at least one"):
        RoundGame(0, float)
    with pytest.raises(SettingsError, match="beyond the 2"):
        RoundGame(2, float).value(4)
    with pytest.raises(UpdateError, match=r"players \[0, 2\] is worth nan"):
        RoundGame(3, lambda mask: float("nan")).value(5)
    with pytest.raises(SettingsError, match="no update"):
        round_game(state_of(net), [], lambda state: 0.0)


def test_bad_updates_are_named(net: nn.Module) -> None:
    before = state_of(net)
    good, bad = updates_of(before, [5, 5])

    def refused(error: type[Exception], match: str, **changed: object) -> None:
        update = Update(**{**vars(bad), **changed})  # type: ignore[arg-type]
        with pytest.raises(error, match=f"client 11, round 3: .*{match}"):
            round_game(before, [good, update], lambda state: 0.0)

    refused(SettingsError, "a gradient; the game needs", kind="gradient")
    refused(UpdateError, "trained on 0 samples", n=0)
    refused(UpdateError, "not those of the model", tensors={"weight": torch.ones(2)})
    refused(UpdateError, "no buffer 'mean'", buffers={"mean": torch.ones(2)})
    spoilt = {name: value.clone() for name, value in bad.tensors.items()}
    spoilt["3.bias"][0] = np.nan
    refused(UpdateError, "1 of 4 entries", tensors=spoilt)
