"""Images of a trained model as a function of its noise: DDIM, and its slope."""

from __future__ import annotations

import pytest
import torch

from fedsec.diffusion.model import new_model
from fedsec.diffusion.objectives import to_pixels
from fedsec.diffusion.samplers import ddim_sample, time_list
from fedsec.diffusion.schedule import noise_schedule
from fedsec.inversion.generator import STEPS, ddim_images
from tests.fedsec.inversion.cases import SHAPE, generator
from tests.fedsec.inversion.denoisers import SMALL, small_model

MODEL = small_model()
Z = torch.randn(2, *SHAPE, generator=generator())


def test_images_are_those_of_ddim() -> None:
    expected = to_pixels(ddim_sample(MODEL.predict, MODEL.schedule, MODEL.objective, Z))
    torch.testing.assert_close(ddim_images(MODEL, clip="hard")(Z), expected.detach())
    straight = ddim_images(MODEL)(Z)
    torch.testing.assert_close(straight, expected.detach())
    assert 0 <= float(straight.min()) and float(straight.max()) <= 1


def test_of_many_steps_some_are_taken() -> None:
    many = new_model(SMALL, SHAPE, schedule=noise_schedule(steps=64))
    expected = ddim_sample(
        many.predict, many.schedule, many.objective, Z, times=time_list(64, STEPS)
    )
    torch.testing.assert_close(ddim_images(many, clip="hard")(Z), to_pixels(expected).detach())


def test_saturated_pixels_move_latents_straight_through_alone() -> None:
    slopes = {}
    for clip in ("straight-through", "hard"):
        z = (4 * Z).requires_grad_()
        x = ddim_images(MODEL, clip=clip)(z)
        saturated = (x.detach() <= 0) | (x.detach() >= 1)
        assert bool(saturated.any())
        (slopes[clip],) = torch.autograd.grad(x[saturated].sum(), z)
    assert not bool(slopes["hard"].any())
    assert bool(slopes["straight-through"].any())


def test_steps_that_are_computed_again_give_the_same_slope() -> None:
    found = []
    for again in (False, True):
        z = Z.clone().requires_grad_()
        x = ddim_images(MODEL, checkpoint=again)(z)
        found.append(torch.autograd.grad(x.square().sum(), z)[0])
    torch.testing.assert_close(found[0], found[1])


def test_the_prior_is_left_alone() -> None:
    x = ddim_images(MODEL)(Z.clone().requires_grad_())
    x.sum().backward()
    assert all(value.grad is None for value in MODEL.net.parameters())
    assert all(value.requires_grad for value in MODEL.net.parameters())
    with pytest.raises(ValueError, match="no clip 'soft'"):
        ddim_images(MODEL, clip="soft")(Z)
