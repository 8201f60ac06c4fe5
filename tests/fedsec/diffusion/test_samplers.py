"""Samplers against diffusers' schedulers, against each other, and against what is known exactly."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from fedsec.diffusion.objectives import OBJECTIVES, to_pixels
from fedsec.diffusion.samplers import CLIPS, ddim_sample, ddpm_sample, time_list
from fedsec.diffusion.schedule import SCHEDULES, NoiseSchedule, noise_schedule, sub_schedule
from fedsec.errors import SettingsError

SCHEDULE = noise_schedule("sigmoid", 16)
NAMES = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}
every_objective = pytest.mark.parametrize("objective", OBJECTIVES)


def predict(x: Tensor, t: Tensor) -> Tensor:
    """Any function of image and step."""
    return torch.sin(2 * x + 0.3 * t.view(-1, 1, 1, 1).to(x.dtype))


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(n: int = 3, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, 2, 4, 4, generator=drawn(9), dtype=dtype)


def theirs(kind: str, schedule: NoiseSchedule, objective: str, clip: bool, spacing: str) -> Any:
    """A scheduler of diffusers with our schedule, in float64."""
    diffusers = pytest.importorskip("diffusers")
    made = getattr(diffusers, kind)(
        num_train_timesteps=schedule.steps,
        trained_betas=schedule.beta.numpy(),
        prediction_type=NAMES[objective],
        clip_sample=clip,
        timestep_spacing=spacing,
    )
    made.alphas_cumprod = schedule.alpha_bar
    return made


@every_objective
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize(("spacing", "kind"), [("leading", "leading"), ("trailing", "linspace")])
@pytest.mark.parametrize("clip", ["hard", "none"])
def test_ddim_is_that_of_diffusers(
    objective: str, eta: float, spacing: str, kind: str, clip: str
) -> None:
    scheduler = theirs("DDIMScheduler", SCHEDULE, objective, clip == "hard", spacing)
    scheduler.set_timesteps(8)
    times = time_list(16, 8, kind)
    assert scheduler.timesteps.tolist() == times.tolist()
    x, generator = noise(), drawn()
    for t in scheduler.timesteps:
        answer = predict(x, t.expand(len(x)))
        x = scheduler.step(
            answer, t, x, eta=eta, generator=generator, use_clipped_model_output=clip == "hard"
        ).prev_sample
    found = ddim_sample(
        predict, SCHEDULE, objective, noise(), times=times, eta=eta, generator=drawn(), clip=clip
    )
    torch.testing.assert_close(found, x, rtol=0, atol=1e-10)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("eta", [0.0, 0.7])
def test_ddim_over_any_list_is_that_of_diffusers(schedule: str, eta: float) -> None:
    """Their scheduler knows even lists alone: so it gets the chain of the list as its own."""
    whole, part = noise_schedule(schedule, 32), torch.tensor([0, 3, 4, 19, 28])
    scheduler = theirs("DDIMScheduler", sub_schedule(whole, part), "v", True, "leading")
    scheduler.set_timesteps(len(part))
    x, generator = noise(), drawn()
    for k in scheduler.timesteps:
        answer = predict(x, part[k].expand(len(x)))
        x = scheduler.step(
            answer, k, x, eta=eta, generator=generator, use_clipped_model_output=True
        ).prev_sample
    found = ddim_sample(
        predict, whole, "v", noise(), times=part.flip(0), eta=eta, generator=drawn()
    )
    torch.testing.assert_close(found, x, rtol=0, atol=1e-10)


@every_objective
@pytest.mark.parametrize("times", [list(range(16))[::-1], [15, 9, 8, 1], [12, 8, 4, 0]])
@pytest.mark.parametrize("clip", ["hard", "none"])
def test_ddpm_is_that_of_diffusers(objective: str, times: list[int], clip: str) -> None:
    scheduler = theirs("DDPMScheduler", SCHEDULE, objective, clip == "hard", "leading")
    scheduler.set_timesteps(timesteps=times)
    x, generator = noise(), drawn()
    for t in scheduler.timesteps:
        x = scheduler.step(predict(x, t.expand(len(x))), t, x, generator=generator).prev_sample
    found = ddpm_sample(
        predict, SCHEDULE, objective, noise(), times=torch.tensor(times), generator=drawn(),
        clip=clip,
    )  # fmt: skip
    torch.testing.assert_close(found, x, rtol=0, atol=1e-9)  # they end with noise of 1e-10


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_float32_is_that_of_diffusers_nearly(eta: float) -> None:
    """With their own float32 schedule, which is less exact than ours."""
    scheduler = theirs("DDIMScheduler", SCHEDULE, "v", True, "trailing")
    scheduler.alphas_cumprod = SCHEDULE.alpha_bar.float()
    scheduler.set_timesteps(16)
    x, generator = noise(dtype=torch.float32), drawn()
    for t in scheduler.timesteps:
        answer = predict(x, t.expand(len(x)))
        x = scheduler.step(
            answer, t, x, eta=eta, generator=generator, use_clipped_model_output=True
        ).prev_sample
    found = ddim_sample(
        predict, SCHEDULE, "v", noise(dtype=torch.float32), eta=eta, generator=drawn()
    )
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, x, rtol=0, atol=1e-5)


@every_objective
def test_ddim_with_eta_1_is_ddpm(objective: str) -> None:
    times = torch.tensor([14, 9, 3, 2])
    for clip in CLIPS:
        first = ddim_sample(
            predict, SCHEDULE, objective, noise(), times=times, eta=1, generator=drawn(), clip=clip
        )
        second = ddpm_sample(
            predict, SCHEDULE, objective, noise(), times=times, generator=drawn(), clip=clip
        )
        torch.testing.assert_close(first, second, rtol=0, atol=1e-10)


def test_the_ideal_denoiser_of_a_normal_law_ends_with_that_law() -> None:
    """Images N(m, s^2): the best guess is linear, and each sampler's result is nearly of that law;
    DDIM's is the exact quantile map where steps are many.
    """
    mean, spread, schedule = 0.3, 0.2, noise_schedule("cosine", 1000)

    def ideal(x: Tensor, t: Tensor) -> Tensor:
        signal, left = schedule.signal[t].view(-1, 1, 1, 1), schedule.noise[t].view(-1, 1, 1, 1)
        gain = spread**2 * signal / (signal**2 * spread**2 + left**2)
        return mean + gain * (x - signal * mean)

    z = torch.randn(4000, 1, 1, 1, generator=drawn(), dtype=torch.float64)
    by_ddim = ddim_sample(ideal, schedule, "x0", z, clip="none")
    torch.testing.assert_close(by_ddim, mean + spread * z, rtol=0, atol=0.01)
    by_ddpm = ddpm_sample(ideal, schedule, "x0", z, generator=drawn(1), clip="none")
    assert float(by_ddpm.mean()) == pytest.approx(mean, abs=4 * spread / 4000**0.5)
    assert float(by_ddpm.std()) == pytest.approx(spread, rel=0.05)


def test_a_perfect_denoiser_gives_the_image_whatever_the_list() -> None:
    image = 2 * torch.rand(2, 1, 3, 3, generator=drawn(), dtype=torch.float64) - 1
    for n in (1, 3, 16):
        found = ddim_sample(lambda x, t: image, SCHEDULE, "x0", -image, times=time_list(16, n))
        torch.testing.assert_close(found, image, rtol=0, atol=1e-12)


def test_a_part_of_the_schedule_told_its_own_times_is_the_list() -> None:
    part = torch.tensor([0, 5, 6, 15])
    whole = ddim_sample(predict, SCHEDULE, "v", noise(), times=part.flip(0))
    short = ddim_sample(predict, sub_schedule(SCHEDULE, part), "v", noise(), time_map=part)
    assert torch.equal(whole, short)


@pytest.mark.parametrize("clip", CLIPS)
def test_clips(clip: str) -> None:
    """What the last image is made of, and what gradient it has, where the answer is 3 x + 2."""
    z = torch.tensor([-2.0, -0.7, 0.1, 4.0], dtype=torch.float64).view(4, 1, 1, 1).requires_grad_()
    (found,) = torch.unbind(
        ddim_sample(
            lambda x, t: 3 * x + 2, SCHEDULE, "x0", z, times=torch.tensor([5]), clip=clip
        ).view(1, 4)
    )
    (slope,) = torch.autograd.grad(found.sum(), z)
    raw = (3 * z + 2).detach().view(4)
    expected, slopes = {
        "none": (raw, torch.full((4,), 3.0)),
        "hard": (raw.clamp(-1, 1), torch.tensor([0.0, 3.0, 0.0, 0.0])),
        "straight-through": (raw.clamp(-1, 1), torch.full((4,), 3.0)),
        "tanh": (raw.tanh(), 3 * (1 - raw.tanh() ** 2)),
    }[clip]
    torch.testing.assert_close(found.detach(), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(slope.view(4), slopes.double(), rtol=1e-12, atol=0)


def test_computing_again_in_place_of_keeping_gives_the_same_gradient() -> None:
    z = noise().requires_grad_()
    slopes = []
    for checkpoint in (False, True):
        x = ddim_sample(
            predict, SCHEDULE, "eps", z, eta=0.5, generator=drawn(), clip="straight-through",
            checkpoint=checkpoint,
        )  # fmt: skip
        slopes.append(torch.autograd.grad(x.square().sum(), z)[0])
    assert torch.equal(*slopes) and slopes[0].abs().min() > 0


def test_each_step_is_told() -> None:
    seen: list[tuple[int, Tensor, Tensor]] = []
    times = time_list(16, 4)
    x = ddim_sample(
        predict, SCHEDULE, "v", noise(), times=times, on_step=lambda *told: seen.append(told)
    )
    assert [t for t, _, _ in seen] == times.tolist() == [15, 11, 7, 3]
    assert torch.equal(seen[-1][1], x) and torch.equal(seen[-1][2], x)
    assert to_pixels(x).min() >= 0 and to_pixels(x).max() <= 1


@pytest.mark.parametrize("steps", [1, 7, 16, 1000])
def test_lists_fall_within_the_steps(steps: int) -> None:
    for n in {1, (steps + 1) // 2, steps}:
        released = (torch.linspace(-1, steps - 1, n + 1, dtype=torch.float64) + 1e-9).int().tolist()
        assert time_list(steps, n).tolist() == released[:0:-1]
        for kind in ("linspace", "leading"):
            found = time_list(steps, n, kind).tolist()
            assert len(found) == n and all(a > b for a, b in pairwise(found))
            assert found[-1] >= 0 and found[0] < steps
        assert time_list(steps, n)[0] == steps - 1 and time_list(steps, n, "leading")[-1] == 0


def test_what_cannot_be_is_refused() -> None:
    z = noise()
    for given, said in (
        ({"times": torch.tensor([3, 3])}, "3 is followed by 3: they must fall"),
        ({"times": torch.tensor([16, 3])}, "steps from 15 down to 0"),
        ({"times": torch.tensor([3, -1])}, "steps from 15 down to 0"),
        ({"eta": 1.5, "generator": drawn()}, "eta = 1.5: give 0 up to 1"),
        ({"eta": 0.5}, "give a generator"),
        ({"clip": "odd"}, "no clip 'odd': choose from hard, none"),
        ({"time_map": torch.tensor([1, 2])}, "time_map has 2 steps, where the schedule has 16"),
    ):
        with pytest.raises(SettingsError, match=said):
            ddim_sample(predict, SCHEDULE, "v", z, **given)  # type: ignore[arg-type]
    for n in (0, 17):
        with pytest.raises(SettingsError, match="give 1 to 16"):
            time_list(16, n)
    with pytest.raises(SettingsError, match="no list 'odd'"):
        time_list(16, 4, "odd")
