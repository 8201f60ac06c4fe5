"""Objectives convert into each other; the loss is what its formula says, and has a gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fedsec.diffusion.objectives import (
    OBJECTIVES,
    add_noise,
    diffusion_loss,
    estimates,
    target,
    to_model_space,
    to_pixels,
    weights,
)
from fedsec.diffusion.schedule import noise_schedule
from fedsec.errors import SettingsError

SCHEDULE = noise_schedule("sigmoid", 16)
T = torch.tensor([0, 5, 8, 15])
every_objective = pytest.mark.parametrize("objective", OBJECTIVES)


def some() -> tuple[Tensor, Tensor]:
    """(images in model space, noise), float64."""
    rng = torch.Generator().manual_seed(0)
    x0 = 2 * torch.rand(4, 2, 3, 3, generator=rng, dtype=torch.float64) - 1
    return x0, torch.randn(x0.shape, generator=rng, dtype=torch.float64)


@every_objective
def test_the_right_answer_gives_back_image_and_noise(objective: str) -> None:
    x0, eps = some()
    x_t = add_noise(SCHEDULE, x0, T, eps)
    image, noise = estimates(SCHEDULE, objective, x_t, T, target(SCHEDULE, objective, x0, T, eps))
    torch.testing.assert_close(image, x0, rtol=0, atol=1e-10)  # sqrt(alpha_bar) ends at 0.005
    torch.testing.assert_close(noise, eps, rtol=0, atol=1e-10)


@every_objective
@pytest.mark.parametrize("other", OBJECTIVES)
def test_any_answer_converts_and_comes_back(objective: str, other: str) -> None:
    """An answer, right or wrong, says the same of x_0 and eps in each form."""
    x0, eps = some()
    x_t, answer = add_noise(SCHEDULE, x0, T, eps), torch.cos(3 * x0)
    image, noise = estimates(SCHEDULE, objective, x_t, T, answer)
    signal, spread = SCHEDULE.signal[T].view(-1, 1, 1, 1), SCHEDULE.noise[T].view(-1, 1, 1, 1)
    torch.testing.assert_close(signal * image + spread * noise, x_t, rtol=0, atol=1e-12)
    converted = target(SCHEDULE, other, image, T, noise)
    again = target(SCHEDULE, objective, *_swapped(other, x_t, converted))
    torch.testing.assert_close(again, answer, rtol=0, atol=1e-9)


def _swapped(other: str, x_t: Tensor, answer: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    image, noise = estimates(SCHEDULE, other, x_t, T, answer)
    return image, T, noise


@every_objective
@pytest.mark.parametrize("weight", ["authors", "none"])
def test_the_loss_is_its_formula(objective: str, weight: str) -> None:
    x0, eps = some()
    a = SCHEDULE.alpha_bar[T].view(-1, 1, 1, 1)
    x_t = a.sqrt() * x0 + (1 - a).sqrt() * eps
    asked = {"eps": eps, "x0": x0, "v": a.sqrt() * eps - (1 - a).sqrt() * x0}[objective]
    of = {"eps": torch.ones_like(a), "x0": a / (1 - a), "v": a}[objective]
    if weight == "none":
        of = torch.ones_like(a)
    expected = (of * (torch.sin(x_t) - asked) ** 2).mean()
    loss = diffusion_loss(lambda x, t: torch.sin(x), SCHEDULE, objective, x0, T, eps, weight=weight)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)


@every_objective
def test_weights_are_those_of_the_released_code(objective: str) -> None:
    snr = SCHEDULE.alpha_bar / (1 - SCHEDULE.alpha_bar)
    expected = {"eps": torch.ones(16), "x0": snr, "v": snr / (snr + 1)}[objective]
    torch.testing.assert_close(
        weights(SCHEDULE, objective, torch.arange(16)), expected.double(), rtol=1e-12, atol=0
    )


def test_noise_is_added_in_the_images_dtype_from_float64_coefficients() -> None:
    x0, eps = (one.float() for one in some())
    exact = add_noise(SCHEDULE, x0.double(), T, eps.double())
    found = add_noise(SCHEDULE, x0, T, eps)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=5e-7)


def test_the_second_derivative_is_right() -> None:
    x0, eps = some()
    w = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    def loss(w: Tensor, x0: Tensor) -> Tensor:
        return diffusion_loss(lambda x, t: torch.sin(w * x), SCHEDULE, "v", x0, T, eps)

    assert torch.autograd.gradgradcheck(loss, (w, x0.requires_grad_()))


def test_spaces_are_inverse() -> None:
    x = torch.linspace(0, 1, 9).view(1, 1, 3, 3)
    assert torch.equal(to_pixels(to_model_space(x)), x)
    assert to_model_space(x).min() == -1 and to_model_space(x).max() == 1


def test_steps_and_objectives_that_are_none_are_refused() -> None:
    x0, eps = some()
    for t in (torch.tensor([0, 1, 2, 16]), torch.tensor([-1, 1, 2, 3])):
        with pytest.raises(SettingsError, match="the schedule has the steps 0 to 15"):
            add_noise(SCHEDULE, x0, t, eps)
    with pytest.raises(SettingsError, match="no weight 'odd': choose from authors, none"):
        diffusion_loss(lambda x, t: x, SCHEDULE, "v", x0, T, eps, weight="odd")
    with pytest.raises(SettingsError, match="no objective 'odd': choose from eps, v, x0"):
        target(SCHEDULE, "odd", x0, T, eps)
