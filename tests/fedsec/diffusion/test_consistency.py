"""CD and CT: the boundary is exact, and the flow of normal data is the minimum."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from fedsec.diffusion.consistency import (
    ConsistencyDistillation,
    ConsistencyTraining,
    Pair,
    consistency_distill,
    consistency_distillation_error,
    consistency_train,
)
from fedsec.diffusion.consistency_model import End
from fedsec.diffusion.moves import move
from fedsec.diffusion.objectives import add_noise
from fedsec.diffusion.schedule import NoiseSchedule, noise_schedule
from fedsec.diffusion.subsequence import linspace
from fedsec.diffusion.train import TrainSettings, TrainWatch
from fedsec.errors import SettingsError
from tests.fedsec.diffusion.gaussian import Normal
from tests.fedsec.diffusion.small import images, rng, teacher_of

QUICK = TrainSettings(steps=6, batch=4, lr=1e-3, ema=None)


def normal(schedule: NoiseSchedule, variance: float = 0.1, mean: float = 0.3) -> Normal:
    return Normal(schedule, torch.full((1, 2, 2), mean).double(), torch.tensor(variance).double())


def error(data: Normal, grid: Tensor, student: End) -> float:
    """Of CD with the ideal denoiser as teacher, all places of the grid, student as its target."""
    n = torch.arange(len(grid) - 1).repeat(16)
    x0 = data.draw(len(n), rng(1))
    eps = torch.randn(x0.shape, generator=rng(2), dtype=torch.float64)
    x = add_noise(data.schedule, x0, grid[n + 1], eps)
    found = consistency_distillation_error(data.schedule, grid, data.image, student, student, x, n)
    return found.mean().item()


def test_the_teachers_own_steps_to_the_end_have_error_0() -> None:
    data = normal(noise_schedule("cosine", 64))
    grid = linspace(64, 9)

    def all_steps(x: Tensor, t: Tensor) -> Tensor:
        """DDIM on the grid from each one's step to the end."""
        for high, low in zip(grid.flip(0)[:-1], grid.flip(0)[1:], strict=True):
            at, to = high.expand(len(x)), low.expand(len(x))
            further = move(data.schedule, x, data.image(x, at), at, to)
            x = torch.where((t >= high).view(-1, 1, 1, 1), further, x)
        return x

    assert error(data, grid, all_steps) < 1e-24


def test_the_exact_flow_has_error_0_where_ddim_is_exact() -> None:
    """For data that are one image the noise in x never changes, at any step size."""
    data = normal(noise_schedule("cosine", 64), variance=0.0)
    found = error(data, linspace(64, 5), lambda x, t: data.flow(x, t, torch.zeros_like(t)))
    assert found < 1e-24


def test_the_exact_flow_has_an_error_of_fourth_order_in_the_step() -> None:
    """DDIM is off by the square of a step, and errors are squared."""
    data = normal(noise_schedule("cosine", 1025))
    errors = [
        error(data, linspace(1025, n), lambda x, t: data.flow(x, t, torch.zeros_like(t)))
        for n in (33, 65, 129)
    ]
    assert 10 < errors[0] / errors[1] < 22 and 10 < errors[1] / errors[2] < 22


def test_the_grid_of_training_grows_and_its_average_slows_down() -> None:
    method = ConsistencyTraining(s0=2, s1=150, mu0=0.9)
    sizes = [method.grid_at(step, 1000, 10_000) for step in range(1001)]
    assert sizes[0] == 2 and sizes[-1] == 151 and sizes == sorted(sizes)
    assert method.grid_at(900, 1000, 64) == 64
    assert method.average_at(2) == pytest.approx(0.9)
    assert method.average_at(151) == pytest.approx(0.9 ** (2 / 151))
    assert ConsistencyTraining(mu0=0).average_at(5) == 0


def test_the_average_follows_at_its_rate() -> None:
    pair = Pair(torch.nn.Linear(1, 1))
    before = pair.net.weight.detach().clone()
    with torch.no_grad():
        pair.net.weight += 1
    pair.average(0.75)
    torch.testing.assert_close(pair.target.weight, before + 0.25)


@pytest.mark.parametrize("by", ["distillation", "training"])
def test_a_stopped_training_goes_on_to_the_same_bits(by: str, tmp_path: Path) -> None:
    learn = {"distillation": consistency_distill, "training": consistency_train}[by]
    path = tmp_path / "x.safetensors"
    whole, history = learn(teacher_of(16), images(), QUICK)
    left = iter([False, False, True])
    learn(teacher_of(16), images(), QUICK, checkpoint=path,
          watch=TrainWatch(stop=lambda: next(left)))  # fmt: skip
    again, resumed = learn(teacher_of(16), images(), QUICK, checkpoint=path)
    assert (resumed.loss == history.loss).all() and len(history.loss) == 6
    for one, other in zip(whole.net.parameters(), again.net.parameters(), strict=True):
        assert torch.equal(one, other)
    other_way = {"distillation": consistency_train, "training": consistency_distill}[by]
    with pytest.raises(SettingsError, match="another run"):
        other_way(teacher_of(16), images(), QUICK, checkpoint=path)


def test_distillation_lowers_its_loss_and_starts_from_the_teacher() -> None:
    settings = TrainSettings(steps=80, batch=16, lr=3e-3, ema=None)
    found, history = consistency_distill(teacher_of(16), images(), settings)
    assert history.loss[-10:].mean() < 0.8 * history.loss[:10].mean()
    assert found.objective == "v" and found.schedule.steps == 16


def test_training_asks_no_teacher() -> None:
    teacher = teacher_of(16, "eps")
    found, _ = consistency_train(teacher, images(), QUICK)
    assert found.objective == "v"


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(SettingsError, match="answers v or x0"):
        consistency_distill(teacher_of(16, "eps"), images(), QUICK)
    with pytest.raises(SettingsError, match="is a moving average already"):
        consistency_distill(teacher_of(16), images(), TrainSettings(steps=1))
    with pytest.raises(SettingsError, match="grid = 1: give at least 2 points"):
        ConsistencyDistillation(grid=1)
    with pytest.raises(SettingsError, match="average = 1: give 0 or more, below 1"):
        ConsistencyDistillation(average=1)
    with pytest.raises(SettingsError, match="s0 = 3, s1 = 2"):
        ConsistencyTraining(s0=3, s1=2)
