"""The diffusion loss as an attack sees it: zero at the truth, smooth, and real steps agree."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fedsec.diffusion.objectives import OBJECTIVES, diffusion_loss, to_model_space
from fedsec.diffusion.schedule import noise_schedule
from fedsec.errors import SettingsError
from fedsec.inversion.denoiser import (
    between,
    diffusion_victim,
    extra_of,
    refuse_unfit_denoiser,
    victim_of,
)
from fedsec.inversion.distances import as_row, row_of, squared
from fedsec.inversion.trials import plain_gradient
from tests.fedsec.inversion.cases import SHAPE, generator
from tests.fedsec.inversion.denoisers import client_of, small_model, small_victim


def distance_at(subject, x: Tensor, t: Tensor, eps: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
    """D(x, t, eps), divided by |gradient sent|^2."""
    sent = {name: value.clone().requires_grad_() for name, value in
            subject.victim.parameters.items()}  # fmt: skip
    found = plain_gradient(subject.victim.loss, sent, x, (t, eps))
    wanted = subject.observed[0].update.tensors
    return squared(as_row(wanted))(row_of(found, wanted))[0]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_loss_is_that_of_training(objective: str) -> None:
    victim = small_victim(objective)
    x = torch.rand(3, *SHAPE, generator=generator(), dtype=torch.float64)
    eps = torch.randn(3, *SHAPE, generator=generator(1), dtype=torch.float64)
    t = torch.tensor([0, 7, 15])
    expected = diffusion_loss(
        lambda x_t, t: small_model(objective).net.double()(x_t, t), noise_schedule(), objective,
        to_model_space(x), t, eps,
    )  # fmt: skip
    torch.testing.assert_close(victim.loss(victim.parameters, x, (t, eps)), expected)


def test_nothing_is_left_at_the_truth() -> None:
    """Oracle: the gradient of the client's own images, steps and noise is what it sent."""
    subject = client_of([3, 8])
    assert subject.noise is not None and subject.truth is not None
    t = torch.tensor(subject.facts.t)
    assert float(distance_at(subject, subject.truth.x, t, subject.noise).detach()) < 1e-24
    assert float(distance_at(subject, subject.truth.x, t.flip(0), subject.noise).detach()) > 1e-3


def test_single_precision_is_at_its_floor_at_the_truth() -> None:
    subject = client_of([8], victim=small_victim(dtype=torch.float32))
    assert subject.noise is not None and subject.truth is not None
    found = distance_at(subject, subject.truth.x, torch.tensor([8]), subject.noise)
    assert float(found.detach()) < 1e-12


def test_the_slope_is_that_of_finite_differences() -> None:
    """In each of x, eps and a real t, along a random direction; central differences in float64."""
    subject = client_of([8])
    rng = generator(3)
    x = torch.rand(1, *SHAPE, generator=rng, dtype=torch.float64)
    eps = torch.randn(1, *SHAPE, generator=rng, dtype=torch.float64)
    t = torch.tensor([7.3], dtype=torch.float64)
    at = [x, eps, t]
    ways = [torch.randn(one.shape, generator=rng, dtype=torch.float64) for one in at]
    leaves = [one.clone().requires_grad_() for one in at]
    loss = distance_at(subject, leaves[0], leaves[2], leaves[1])
    slopes = torch.autograd.grad(loss, leaves)
    step = 1e-5
    for place, (slope, way) in enumerate(zip(slopes, ways, strict=True)):
        ends = []
        for sign in (1, -1):
            moved = [one + sign * step * way if k == place else one for k, one in enumerate(at)]
            ends.append(float(distance_at(subject, moved[0], moved[2], moved[1]).detach()))
        expected = (ends[0] - ends[1]) / (2 * step)
        assert float((slope * way).sum()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_real_steps_agree_with_whole_ones(objective: str) -> None:
    victim = small_victim(objective)
    x = torch.rand(16, *SHAPE, generator=generator(), dtype=torch.float64)
    eps = torch.randn(16, *SHAPE, generator=generator(1), dtype=torch.float64)
    t = torch.arange(16)
    whole = victim.loss(victim.parameters, x, (t, eps))
    real = victim.loss(victim.parameters, x, (t.double(), eps))
    torch.testing.assert_close(real, whole, rtol=1e-9, atol=0)


def test_the_least_distance_is_at_the_true_step() -> None:
    """Oracle: over all steps, with the image and the noise known, the residual singles one out."""
    subject = client_of([5])
    assert subject.noise is not None and subject.truth is not None
    found = [
        float(distance_at(subject, subject.truth.x, torch.tensor([t]), subject.noise).detach())
        for t in range(16)
    ]
    assert min(range(16), key=found.__getitem__) == 5
    assert sorted(found)[1] > 1e-4 > 1e-20 > found[5]


def test_between_is_linear_and_stays_inside() -> None:
    values = torch.tensor([0.0, 2.0, 3.0])
    t = torch.tensor([-1.0, 0.0, 0.5, 1.0, 1.25, 2.0, 9.0])
    assert between(values, t).tolist() == [0.0, 0.0, 1.0, 2.0, 2.25, 3.0, 3.0]
    assert between(values[:1], t).tolist() == [0.0] * 7


def test_a_time_map_is_what_the_network_is_told() -> None:
    seen: list[list[float]] = []

    class Told(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            seen.append(t.tolist())
            return self.weight * x

    victim = diffusion_victim(
        Told(), noise_schedule(steps=3), "eps", time_map=torch.tensor([1, 5, 9])
    )
    x = torch.rand(2, *SHAPE, generator=generator())
    victim.loss(victim.parameters, x, (torch.tensor([0, 2]), x))
    victim.loss(victim.parameters, x, (torch.tensor([0.5, 2.0]), x))
    assert seen == [[1, 9], [3.0, 9.0]]


def test_parameters_can_be_others_and_the_network_is_left_alone() -> None:
    model = small_model()
    victim = victim_of(model)
    x = torch.rand(1, *SHAPE, generator=generator())
    extra = extra_of({"t": torch.tensor([2]), "eps": x})
    halved = victim.with_parameters({k: v / 2 for k, v in victim.parameters.items()}).to("cpu")
    assert float(halved.loss(halved.parameters, x, extra)) != float(
        victim.loss(victim.parameters, x, extra)
    )
    assert all(value.grad is None for value in model.net.parameters())


def test_what_cannot_be_attacked_is_refused() -> None:
    class Fused(nn.Module):
        """Attention by a kernel of its own, which has no second derivative."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            answer: Tensor = _Once.apply(self.weight * x)
            return answer

    with pytest.raises(SettingsError, match="cannot be differentiated twice"):
        refuse_unfit_denoiser(diffusion_victim(Fused(), noise_schedule(), "eps"), SHAPE)
    with pytest.raises(SettingsError, match="multiple of 2"):
        refuse_unfit_denoiser(small_victim(), (1, 7, 8))


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        return x.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        return slope
