"""A DDIM step is the sampler's, and its inverse takes it back."""

from __future__ import annotations

import torch

from fedsec.diffusion.moves import image_that_moves, move
from fedsec.diffusion.samplers import ddim_sample
from fedsec.diffusion.schedule import noise_schedule
from tests.fedsec.diffusion.gaussian import Answers, Normal
from tests.fedsec.diffusion.small import rng

SCHEDULE = noise_schedule("sigmoid", 12)


def test_moves_one_after_another_are_the_sampler() -> None:
    data = Normal(SCHEDULE, torch.full((1, 2, 2), 0.3).double(), torch.tensor(0.2).double())
    z = torch.randn(3, 1, 2, 2, generator=rng(), dtype=torch.float64)
    times = [11, 7, 2, 0]
    x = z
    for t, s in zip(times, [*times[1:], -1], strict=True):
        at, to = torch.full((3,), t), torch.full((3,), s)
        x = move(SCHEDULE, x, data.image(x, at), at, to)
    expected = ddim_sample(
        Answers(SCHEDULE, "v", data.image), SCHEDULE, "v", z, times=torch.tensor(times), clip="none"
    )
    torch.testing.assert_close(x, expected, rtol=0, atol=1e-12)


def test_the_inverse_finds_the_image_at_any_mix_of_steps() -> None:
    x, image = torch.randn(2, 12, 1, 2, 2, generator=rng(), dtype=torch.float64)
    t = torch.arange(12)
    for back in (1, 2):
        s = (t - back).clamp_min(-1)
        reached = move(SCHEDULE, x, image, t, s)
        again = image_that_moves(SCHEDULE, x, reached, t, s)
        torch.testing.assert_close(again, image, rtol=0, atol=1e-10)
    to_the_end = move(SCHEDULE, x, image, t, torch.full_like(t, -1))
    assert torch.equal(to_the_end, image)
