"""Ends of paths, samples by them, and files that remember what they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fedsec.diffusion.consistency_model import (
    ConsistencyModel,
    consistency_sample,
    load_student,
    path_end,
    save_student,
)
from fedsec.diffusion.moves import move
from fedsec.diffusion.objectives import estimates
from fedsec.diffusion.schedule import noise_schedule
from fedsec.errors import SettingsError
from tests.fedsec.diffusion.gaussian import Answers, Normal
from tests.fedsec.diffusion.small import rng, teacher_of

every_objective = pytest.mark.parametrize("objective", ["eps", "v", "x0"])


def consistent(steps: int = 16) -> ConsistencyModel:
    of = teacher_of(steps)
    return ConsistencyModel(of.net, of.schedule, of.objective, of.shape, of.architecture)


@every_objective
def test_at_the_first_step_it_is_the_image_itself(objective: str) -> None:
    """Exactly, whatever the network says."""
    of = teacher_of(16, objective)
    x = torch.randn(5, 1, 4, 4, generator=rng())
    found = path_end(of.net, of.schedule, objective, x, torch.zeros(5, dtype=torch.int64))
    assert torch.equal(found, x)


@every_objective
def test_it_is_the_ddim_step_to_the_first_step(objective: str) -> None:
    schedule = noise_schedule("cosine", 16)
    x = torch.randn(5, 1, 4, 4, generator=rng(), dtype=torch.float64)
    t = torch.tensor([1, 4, 8, 12, 14])
    net = Answers(schedule, objective, lambda x, t: torch.sin(3 * x))
    found = path_end(net, schedule, objective, x, t)
    image, _ = estimates(schedule, objective, x, t, net(x, t))
    expected = move(schedule, x, image, t, torch.zeros_like(t))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("steps", [1, 3])
def test_samples_by_the_exact_flow_have_the_moments_of_the_data(steps: int) -> None:
    schedule = noise_schedule("cosine", 64)
    data = Normal(schedule, torch.full((1, 1, 1), 0.2).double(), torch.tensor(0.03).double())
    angles = torch.atan2(schedule.noise, schedule.signal)

    def v(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """The answer with which f is the flow."""
        turned = (angles - angles[0])[t].view(-1, 1, 1, 1)
        return (turned.cos() * x - data.flow(x, t, torch.zeros_like(t))) / turned.sin()

    n = 40_000
    z = torch.randn(n, 1, 1, 1, generator=rng(), dtype=torch.float64)
    times = torch.tensor([63, 40, 20])[:steps]
    x = consistency_sample(v, schedule, "v", z, times=times, generator=rng(1)).flatten()
    first = schedule.alpha_bar[0]
    spread = first * data.variance + 1 - first
    assert abs(x.mean() - first.sqrt() * 0.2) < 5 * (spread / n).sqrt() + 1e-3
    assert abs(x.var() / spread - 1) < 5 * (2 / n) ** 0.5 + 1e-3


def test_samples_by_seed_in_one_step_or_more() -> None:
    model = consistent()
    one = model.sample(3, generator=rng())
    z = torch.randn(3, 1, 4, 4, generator=rng())
    assert torch.equal(one, model.sample_from(z, steps=1))
    more = model.sample(3, steps=4, generator=rng())
    assert more.shape == one.shape and not torch.equal(more, one)
    assert more.min() >= 0 and more.max() <= 1
    assert type(model.to("cpu")) is ConsistencyModel


def test_a_file_remembers_what_kind_of_model_it_holds(tmp_path: Path) -> None:
    plain, ours = teacher_of(16), consistent()
    for name, model in (("plain", plain), ("ours", ours)):
        save_student(tmp_path / name, model, {"by": "test"})
        again = load_student(tmp_path / name)
        assert type(again) is type(model)
        assert torch.equal(
            again.sample(2, steps=2, generator=rng()), model.sample(2, steps=2, generator=rng())
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours", "plain"]


def test_what_cannot_be_is_refused() -> None:
    model, z = consistent(), torch.zeros(2, 1, 4, 4)
    with pytest.raises(SettingsError, match="eta = 0.5 has no effect"):
        model.sample(2, eta=0.5, generator=rng())
    with pytest.raises(SettingsError, match="n = 0"):
        model.sample(0, generator=rng())
    with pytest.raises(SettingsError, match="a student of 17 steps: give 1 to 16"):
        model.sample(2, steps=17, generator=rng())
    with pytest.raises(SettingsError, match="give a generator"):
        model.sample_from(z, steps=2)
    with pytest.raises(SettingsError, match="give steps that fall"):
        consistency_sample(model.predict, model.schedule, "v", z, times=torch.tensor([3, 5]))
