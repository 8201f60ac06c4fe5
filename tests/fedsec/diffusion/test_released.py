"""The released variants are what their description says, and not the published methods."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fedsec.diffusion.objectives import Predict
from fedsec.diffusion.released import (
    released_consistency_distillation_loss,
    released_consistency_training_loss,
    released_progressive_loss,
)
from fedsec.diffusion.schedule import noise_schedule
from fedsec.errors import SettingsError
from tests.fedsec.diffusion.small import rng

Seen = list[tuple[Tensor, Tensor]]


def batch() -> tuple[Tensor, Tensor]:
    x0, eps = torch.randn(2, 3, 1, 2, 2, generator=rng(), dtype=torch.float64)
    return x0, eps


def recorder(seen: Seen, gain: float) -> Predict:
    def predict(x: Tensor, t: Tensor) -> Tensor:
        seen.append((x, t))
        return gain * x

    return predict


def test_the_progressive_student_sees_other_noise_than_its_teacher() -> None:
    student, teacher = noise_schedule("sigmoid", 8), noise_schedule("sigmoid", 16)
    x0, eps = batch()
    t = torch.tensor([0, 3, 7])
    ours: Seen = []
    theirs: Seen = []
    loss = released_progressive_loss(
        recorder(ours, 0.5), recorder(theirs, 2.0), student, teacher, x0, t, eps
    )
    (x, at), (y, at_teacher) = ours[0], theirs[0]
    assert torch.equal(at, t) and torch.equal(at_teacher, 2 * t)
    a, b = student.alpha_bar[3], teacher.alpha_bar[6]
    torch.testing.assert_close(x[1], a.sqrt() * x0[1] + (1 - a).sqrt() * eps[1])
    torch.testing.assert_close(y[1], b.sqrt() * x0[1] + (1 - b).sqrt() * eps[1])
    assert abs(a - b) > 0.01
    torch.testing.assert_close(loss, (0.5 * x - 2 * y).square().mean())
    with pytest.raises(SettingsError, match="needs twice as many"):
        released_progressive_loss(recorder([], 1), recorder([], 1), student, student, x0, t, eps)


def test_released_distillation_adds_noise_of_whole_numbers() -> None:
    x0, eps = batch()
    t = torch.tensor([1, 2, 5])
    ours: Seen = []
    theirs: Seen = []
    loss = released_consistency_distillation_loss(
        recorder(ours, 1.0), recorder(theirs, 0.0), x0, t, eps
    )
    x = x0 + (t + 1).view(-1, 1, 1, 1) * eps
    torch.testing.assert_close(theirs[0][0], x)
    before = x * (t / (t + 1)).view(-1, 1, 1, 1)  # a part in t + 1 towards the teacher's 0
    torch.testing.assert_close(ours[0][0], before)
    assert torch.equal(ours[0][1], t - 1)
    torch.testing.assert_close(loss, (x - before).square().mean())


def test_released_training_is_the_noise_loss_and_agreement_of_neighbours() -> None:
    schedule = noise_schedule("sigmoid", 8)
    x0, eps = batch()
    t = torch.tensor([0, 3, 6])
    seen: Seen = []
    loss = released_consistency_training_loss(recorder(seen, 0.5), schedule, x0, t, eps)
    (x, _), (y, after) = seen
    assert torch.equal(after, t + 1)
    expected = (0.5 * x - eps).square().mean() + (0.5 * (x - y)).square().mean()
    torch.testing.assert_close(loss, expected)
