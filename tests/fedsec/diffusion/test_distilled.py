"""The loop: steps that depend on the seed and their number, progress, and an end in words."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fedsec.diffusion.distilled import Loss, fit
from fedsec.diffusion.train import TrainSettings, TrainWatch
from fedsec.errors import DataError, SettingsError
from tests.fedsec.diffusion.small import images, rng


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))


def seen_by(net: Scale, seen: list[tuple[Tensor, Tensor, Tensor]]) -> Loss:
    def loss(x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        seen.append((x0, t, eps))
        return (net.weight - 1).square()

    return loss


def test_a_step_draws_by_the_seed_and_its_number() -> None:
    runs = []
    for seed, steps in ((0, 4), (0, 2), (1, 2)):
        net, seen = Scale(), []
        fit(net, seen_by(net, seen), images(), 7, TrainSettings(steps=steps, seed=seed), about={})
        runs.append(seen)
    for one, other in zip(runs[0][:2], runs[1], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not torch.equal(runs[1][0][2], runs[2][0][2])
    x0, t, eps = (torch.cat([step[place] for step in runs[0]]) for place in range(3))
    assert set(t.tolist()) == set(range(7)) and x0.min() >= -1 and x0.max() <= 1
    assert abs(float(eps.std()) - 1) < 0.05


def test_it_learns_by_adam_and_averages_where_asked() -> None:
    net = Scale()
    history = fit(
        net, seen_by(net, []), images(), 2, TrainSettings(steps=60, lr=0.1, ema=None), about={}
    )
    assert abs(net.weight.item() - 1) < 0.05 and history.loss[0] == 1
    late = Scale()
    fit(late, seen_by(late, []), images(), 2, TrainSettings(steps=60, lr=0.1, ema=0.99), about={})
    assert 0 < late.weight.item() != net.weight.item()


def test_progress_is_told_and_a_stop_is_heard() -> None:
    net, told = Scale(), []
    watch = TrainWatch(
        progress=lambda done, of, loss: told.append((done, of)), every=3,
        stop=lambda: len(told) == 2,
    )  # fmt: skip
    history = fit(
        net, seen_by(net, []), images(), 2, TrainSettings(steps=20), about={}, watch=watch
    )
    assert told == [(3, 20), (6, 20)] and len(history.loss) == 6


def test_a_loss_that_is_not_finite_and_no_images_are_refused() -> None:
    net = Scale()
    with pytest.raises(SettingsError, match="the loss is nan after 2 steps: give a lower lr"):
        fit(net, lambda x0, t, eps: net.weight * float("nan"), images(), 2, TrainSettings(steps=2),
            about={})  # fmt: skip
    with pytest.raises(DataError, match="no images"):
        fit(net, seen_by(net, []), torch.rand(0, 1, 4, 4, generator=rng()), 2,
            TrainSettings(steps=2), about={})  # fmt: skip
