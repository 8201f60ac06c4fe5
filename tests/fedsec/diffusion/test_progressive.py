"""Progressive distillation: one step of the student is two of its teacher's, exactly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from fedsec.diffusion.model import DiffusionModel
from fedsec.diffusion.moves import move
from fedsec.diffusion.objectives import add_noise
from fedsec.diffusion.progressive import (
    halve,
    image_of,
    progressive_distill,
    progressive_loss,
    progressive_target,
    stages,
    two_steps,
)
from fedsec.diffusion.samplers import ddim_sample
from fedsec.diffusion.schedule import noise_schedule, sub_schedule
from fedsec.diffusion.train import TrainSettings, TrainWatch
from fedsec.errors import SettingsError
from tests.fedsec.diffusion.gaussian import Answers, Normal
from tests.fedsec.diffusion.small import SMALL, images, rng, teacher_of

SCHEDULE = noise_schedule("sigmoid", 16)
DATA = Normal(SCHEDULE, torch.full((1, 4, 4), 0.1).double(), torch.tensor(0.05).double())
QUICK = TrainSettings(steps=4, batch=4, lr=1e-3, ema=None)


def ideal(objective: str = "v") -> DiffusionModel:
    net = Answers(SCHEDULE, objective, DATA.image)
    return DiffusionModel(net, SCHEDULE, objective, (1, 4, 4), SMALL)


def target_of(x: Tensor, t: Tensor) -> Tensor:
    return progressive_target(SCHEDULE, DATA.image, x, t)


def some(n: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """(images in model space, odd steps, x at these)."""
    x0 = DATA.draw(n, rng(1))
    t = 2 * torch.arange(n) + 1
    eps = torch.randn(x0.shape, generator=rng(2), dtype=torch.float64)
    return x0, t, add_noise(SCHEDULE, x0, t, eps)


def test_one_step_with_the_target_lands_where_two_of_the_teacher_do() -> None:
    _, t, x = some()
    landed = move(SCHEDULE, x, target_of(x, t), t, t - 2)
    torch.testing.assert_close(landed, two_steps(SCHEDULE, DATA.image, x, t), rtol=0, atol=1e-12)


def test_at_the_end_the_target_is_the_teachers_second_image() -> None:
    _, _, x = some()
    t = torch.ones(8, dtype=torch.int64)
    half = move(SCHEDULE, x, DATA.image(x, t), t, t - 1)
    torch.testing.assert_close(target_of(x, t), DATA.image(half, t - 1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("objective", ["v", "x0"])
def test_a_student_that_is_two_steps_of_its_teacher_has_loss_0(objective: str) -> None:
    x0, _, _ = some()
    j, eps = torch.arange(8), torch.randn(x0.shape, generator=rng(3), dtype=torch.float64)
    student = Answers(SCHEDULE, objective, target_of)
    loss = progressive_loss(student, ideal(objective), clip=False)
    assert loss(x0, j, eps).item() < 1e-20
    same = progressive_loss(Answers(SCHEDULE, objective, DATA.image), ideal(objective), clip=False)
    assert same(x0, j, eps).item() > 1e-8  # its teacher itself has not


def test_an_exact_student_samples_in_half_the_steps_what_its_teacher_does() -> None:
    z = torch.randn(4, 1, 4, 4, generator=rng(), dtype=torch.float64)
    kept = torch.arange(1, 16, 2)
    student = ddim_sample(
        Answers(SCHEDULE, "v", target_of), sub_schedule(SCHEDULE, kept), "v", z, time_map=kept,
        clip="none",
    )  # fmt: skip
    teacher = ddim_sample(Answers(SCHEDULE, "v", DATA.image), SCHEDULE, "v", z, clip="none")
    torch.testing.assert_close(student, teacher, rtol=0, atol=1e-10)


def test_two_steps_of_an_ideal_denoiser_are_linear_in_closed_form() -> None:
    """x goes to the mean's share plus a product of two gains; no code of ours makes the gains."""
    _, t, x = some()
    a = torch.cat([SCHEDULE.alpha_bar, torch.ones(1, dtype=torch.float64)])  # a[-1] is 1
    variance = DATA.variance

    def gain(at: Tensor, to: Tensor) -> Tensor:
        of_image = variance * a[at].sqrt() / (a[at] * variance + 1 - a[at])
        ratio = ((1 - a[to]) / (1 - a[at])).sqrt()
        return ratio + (a[to].sqrt() - ratio * a[at].sqrt()) * of_image

    both = (gain(t, t - 1) * gain(t - 1, t - 2)).view(-1, 1, 1, 1)
    centre = [(a[at].sqrt()).view(-1, 1, 1, 1) * DATA.mean for at in (t, t - 2)]
    expected = centre[1] + both * (x - centre[0])
    found = two_steps(SCHEDULE, DATA.image, x, t)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_images_of_the_teacher_are_held_where_it_samples_so() -> None:
    net = Answers(SCHEDULE, "x0", lambda x, t: 3 * torch.ones_like(x))
    x, t = torch.zeros(2, 1, 4, 4, dtype=torch.float64), torch.tensor([3, 5])
    assert (image_of(net, SCHEDULE, "x0")(x, t) == 1).all()
    assert (image_of(net, SCHEDULE, "x0", clip=False)(x, t) == 3).all()


def test_halvings_keep_the_noisiest_step_and_the_teachers_numbers(tmp_path: Path) -> None:
    found = progressive_distill(teacher_of(16), 4, images(), QUICK, folder=tmp_path)
    maps = [[] if one.time_map is None else one.time_map.tolist() for one, _ in found]
    assert maps == [[1, 3, 5, 7, 9, 11, 13, 15], [3, 7, 11, 15]]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "stage-1.safetensors", "stage-2.safetensors"
    ]  # fmt: skip
    last = found[-1][0]
    assert torch.equal(last.schedule.alpha_bar, teacher_of(16).schedule.alpha_bar[maps[-1]])
    assert last.sample(2, generator=rng()).shape == (2, 1, 4, 4)


def test_a_first_teacher_on_some_steps_only() -> None:
    ((student, _),) = progressive_distill(
        teacher_of(16), 2, images(), QUICK, indices=torch.tensor([0, 4, 8, 12])
    )
    assert student.time_map is not None and student.time_map.tolist() == [4, 12]


def test_a_stopped_stage_ends_the_list_and_is_gone_on_with(tmp_path: Path) -> None:
    whole = progressive_distill(teacher_of(16), 4, images(), QUICK)
    asked = iter([False] * 6 + [True])  # in the second stage
    part = progressive_distill(
        teacher_of(16), 4, images(), QUICK, folder=tmp_path,
        watch=TrainWatch(stop=lambda: next(asked)),
    )  # fmt: skip
    assert [len(history.loss) for _, history in part] == [4, 2]
    again = progressive_distill(teacher_of(16), 4, images(), QUICK, folder=tmp_path)
    for one, other in zip(
        whole[-1][0].net.parameters(), again[-1][0].net.parameters(), strict=True
    ):
        assert torch.equal(one, other)


def test_training_lowers_the_loss() -> None:
    settings = TrainSettings(steps=80, batch=16, lr=3e-3, ema=None)
    _, history = halve(teacher_of(16), images(), settings)
    assert history.loss[-10:].mean() < 0.8 * history.loss[:10].mean()


@pytest.mark.parametrize(("known", "steps", "n"), [(16, 8, 1), (16, 1, 4), (12, 3, 2)])
def test_how_often_to_halve(known: int, steps: int, n: int) -> None:
    assert stages(known, steps) == n


@pytest.mark.parametrize(
    ("known", "steps", "said"),
    [
        (16, 3, "does not lead to 3: give one of 8, 4, 2, 1"),
        (16, 16, "does not lead to 16"),
        (12, 2, "give one of 6, 3"),
        (7, 3, "start from an even number"),
        (16, 0, "does not lead to 0"),
    ],
)
def test_what_halving_does_not_lead_to_is_refused(known: int, steps: int, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        stages(known, steps)


def test_a_teacher_that_answers_noise_or_has_odd_steps_is_refused() -> None:
    with pytest.raises(SettingsError, match="answers v or x0"):
        progressive_distill(teacher_of(16, "eps"), 4, images(), QUICK)
    with pytest.raises(SettingsError, match="3 steps cannot be halved"):
        halve(teacher_of(3), images(), QUICK)
