"""Schedules against published values, and their chains against Gaussian conditioning by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from fedsec.diffusion.schedule import SCHEDULES, NoiseSchedule, noise_schedule, sub_schedule
from fedsec.errors import SettingsError

every_kind = pytest.mark.parametrize("kind", SCHEDULES)
PARTS = [
    torch.arange(16),
    torch.tensor([0, 4, 8, 12]),
    torch.tensor([0, 1, 6, 7, 15]),
    torch.tensor([9]),
]


def test_sigmoid_of_16_steps_is_as_measured() -> None:
    left = noise_schedule("sigmoid", 16).alpha_bar
    first = [
        0.9778, 0.9471, 0.9055, 0.8509, 0.7816, 0.6980, 0.6024, 0.5000, 0.3976, 0.3020, 0.2184,
        0.1491, 0.0945, 0.0529, 0.0222,
    ]  # fmt: skip
    assert_allclose(left[:15].numpy(), first, atol=5e-5)
    assert float(left[15]) == pytest.approx(0.001 * float(left[14]), rel=1e-12)  # beta is clipped


@pytest.mark.parametrize(
    ("kind", "first", "last"),
    [("sigmoid", 0.999707, 2.93e-7), ("cosine", 0.999960, 2.3e-9), ("linear", 0.999902, 4.04e-5)],
)
def test_ends_of_1024_steps_are_as_measured(kind: str, first: float, last: float) -> None:
    left = noise_schedule(kind, 1024).alpha_bar
    assert float(left[0]) == pytest.approx(first, abs=2e-6)
    assert float(left[-1]) == pytest.approx(last, rel=0.03)


@every_kind
@pytest.mark.parametrize("steps", [1, 2, 16, 1000])
def test_alpha_bar_is_the_product_of_alphas(kind: str, steps: int) -> None:
    schedule = noise_schedule(kind, steps)
    assert schedule.steps == steps and schedule.alpha_bar.dtype == torch.float64
    assert_allclose(torch.cumprod(schedule.alpha, 0), schedule.alpha_bar, rtol=1e-12)
    assert_allclose(schedule.signal**2 + schedule.noise**2, torch.ones(steps), rtol=1e-14)
    assert_allclose(schedule.snr, schedule.signal**2 / schedule.noise**2, rtol=1e-12)
    assert float(schedule.beta.max()) <= 0.999 + 1e-12


def conditioned(schedule: NoiseSchedule, s: int, t: int) -> tuple[float, float, float]:
    """(of x_0, of x_t, variance) of q(x_s | x_t, x_0), by conditioning the joint normal of all
    steps, whose covariance comes from the chain itself; s = -1 is x_0.
    """
    alpha, n = schedule.alpha.numpy(), schedule.steps
    rows = np.zeros((n + 1, n))  # x_t in units of the noise of each step
    mean = np.ones(n + 1)  # in units of x_0
    for step in range(n):
        rows[step + 1] = np.sqrt(alpha[step]) * rows[step]
        rows[step + 1, step] = np.sqrt(1 - alpha[step])
        mean[step + 1] = np.sqrt(alpha[step]) * mean[step]
    cov = rows @ rows.T
    slope = cov[s + 1, t + 1] / cov[t + 1, t + 1]
    return (
        float(mean[s + 1] - slope * mean[t + 1]),
        float(slope),
        float(cov[s + 1, s + 1] - slope * cov[s + 1, t + 1]),
    )


@every_kind
@pytest.mark.parametrize("part", PARTS, ids=lambda part: f"{len(part)} steps")
def test_posteriors_are_those_of_the_whole_chain(kind: str, part: torch.Tensor) -> None:
    whole = noise_schedule(kind, 16)
    sub = sub_schedule(whole, part)
    assert torch.equal(sub.alpha_bar, whole.alpha_bar[part])  # bit for bit
    places = [-1, *part.tolist()]
    for k, (s, t) in enumerate(zip(places, places[1:], strict=False)):
        of_x0, of_xt, variance = conditioned(whole, s, t)
        assert float(sub.posterior_mean_x0[k]) == pytest.approx(of_x0, abs=1e-12)
        assert float(sub.posterior_mean_xt[k]) == pytest.approx(of_xt, abs=1e-12)
        assert float(sub.posterior_variance[k]) == pytest.approx(variance, abs=1e-12)
        product = float(whole.alpha[s + 1 : t + 1].prod())
        assert float(sub.alpha[k]) == pytest.approx(product, abs=1e-12)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ([], "at least one step"),
        ([0, 16], "0 to 16: the schedule has the steps 0 to 15"),
        ([-1, 3], "-1 to 3"),
        ([0, 5, 5], "5 is followed by 5: they must rise"),
        ([7, 2], "7 is followed by 2"),
    ],
)
def test_other_parts_are_refused(part: list[int], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        sub_schedule(noise_schedule(), torch.tensor(part, dtype=torch.int64))


def test_other_schedules_are_refused() -> None:
    for make, said in (
        (lambda: noise_schedule("odd", 4), "no schedule 'odd': choose from sigmoid"),
        (lambda: noise_schedule("cosine", 0), "steps = 0"),
        (lambda: noise_schedule(start=3, end=-3), "must be below end"),
        (lambda: noise_schedule(tau=0), "and tau above 0"),
        (lambda: NoiseSchedule(torch.tensor([0.5])), "float32"),
        (lambda: NoiseSchedule(torch.tensor([0.5, 0.5], dtype=torch.float64)), "must fall"),
        (lambda: NoiseSchedule(torch.tensor([1.0, 0.5], dtype=torch.float64)), "below 1"),
    ):
        with pytest.raises(SettingsError, match=said):
            make()
