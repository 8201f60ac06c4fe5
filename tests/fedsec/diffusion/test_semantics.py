"""Paths between noises keep their ends and lengths; distances are of shown pixels."""

from __future__ import annotations

import pytest
import torch

from fedsec.diffusion.consistency_model import ConsistencyModel
from fedsec.diffusion.objectives import to_pixels
from fedsec.diffusion.samplers import ddim_sample
from fedsec.diffusion.semantics import (
    PATHS,
    images_of_noise,
    interpolate_noise,
    semantic_distance,
)
from fedsec.errors import SettingsError
from tests.fedsec.diffusion.small import rng, teacher_of

WEIGHTS = torch.arange(9) / 8


def ends() -> tuple[torch.Tensor, torch.Tensor]:
    first, second = torch.randn(2, 1, 8, 8, generator=rng())
    return first, second


@pytest.mark.parametrize("kind", PATHS)
def test_a_path_goes_from_one_to_the_other(kind: str) -> None:
    first, second = ends()
    path = interpolate_noise(first, second, WEIGHTS, kind)
    assert path.shape == (9, 1, 8, 8)
    torch.testing.assert_close(path[0], first)
    torch.testing.assert_close(path[-1], second)


def test_halfway_a_line_is_short_and_a_circle_is_not() -> None:
    first, second = ends()
    line, circle = (interpolate_noise(first, second, WEIGHTS, kind)[4] for kind in PATHS)
    torch.testing.assert_close(line, (first + second) / 2)
    mean_length = (first.norm() + second.norm()) / 2
    torch.testing.assert_close(circle.norm(), mean_length)
    assert line.norm() < 0.85 * mean_length
    equal = [one / one.norm() for one in (first, second)]
    around = interpolate_noise(equal[0], equal[1], WEIGHTS, "slerp")
    steps = (around[1:] * around[:-1]).flatten(1).sum(dim=1)
    torch.testing.assert_close(steps, steps[:1].expand(8))  # equal angles


def test_paths_that_are_none_are_refused() -> None:
    first, _ = ends()
    with pytest.raises(SettingsError, match="'odd' is not one of linear, slerp"):
        interpolate_noise(first, first, WEIGHTS, "odd")
    with pytest.raises(SettingsError, match="different directions"):
        interpolate_noise(first, 2 * first, WEIGHTS, "slerp")


def test_distances_are_of_pixels_as_shown() -> None:
    student = torch.tensor([0.0, 0.5, 3.0]).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    teacher = torch.tensor([0.0, 0.25, 1.0]).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    assert semantic_distance(student, teacher).tolist() == [0, 0.0625, 0]


def test_images_of_noise_are_ddim_in_batches_and_ends_of_paths() -> None:
    model = teacher_of(16)
    z = torch.randn(5, 1, 4, 4, generator=rng())
    times = torch.tensor([15, 7, 0])
    with torch.no_grad():
        x = to_pixels(ddim_sample(model.net, model.schedule, "v", z, times=times))
    found = images_of_noise(model, z, times=times, batch=2)
    torch.testing.assert_close(found, x, rtol=0, atol=1e-5)
    other = ConsistencyModel(model.net, model.schedule, "v", model.shape, model.architecture)
    assert torch.equal(images_of_noise(other, z), other.sample_from(z, steps=1))
