"""What a client would have sent, against what torch's SGD does send."""

import pytest
import torch
from torch.func import vmap

from fedsec.core import twice
from fedsec.core.functional import flatten
from fedsec.errors import SettingsError
from fedsec.inversion import trials
from fedsec.inversion.case import delta_to_gradient
from fedsec.inversion.distances import as_row, cosine, row_of
from fedsec.inversion.trials import (
    at_start,
    descended_gradient,
    functional_gradient,
    plain_gradient,
    simulated,
    surrogate,
)
from tests.fedsec.inversion.cases import digits, of_gradient, of_local_steps, smooth_net

BATCHES = ((0, 1), (2, 3), (1, 2))
FOUR = digits(range(4))


def tracked(parameters: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.clone().requires_grad_() for name, value in parameters.items()}


def test_both_gradient_operators_agree() -> None:
    case = of_gradient(smooth_net(), FOUR)
    loss, sent = case.victim.loss, case.victim.parameters
    plain = plain_gradient(loss, tracked(sent), FOUR.x, FOUR.y)
    functional = functional_gradient(loss, sent, FOUR.x, FOUR.y)
    for name in sent:
        torch.testing.assert_close(plain[name].detach(), functional[name])
    torch.testing.assert_close(plain[name].detach(), case.observed[0].update.tensors[name])


@pytest.mark.parametrize(("large", "looked"), [(0, 3), (2**15, 1)])
def test_a_descent_has_the_plain_gradient(monkeypatch, large: int, looked: int) -> None:
    """Layers of small maps are looked at once, and are torch's from then on."""
    made = []

    class Watched(twice.ConstantParameters):
        def __init__(self, images: torch.Tensor) -> None:
            super().__init__(images)
            made.append(self)

    monkeypatch.setattr(trials, "ConstantParameters", Watched)
    monkeypatch.setattr(twice, "LARGE", large)
    victim = of_gradient(smooth_net(), FOUR).victim
    gradient = descended_gradient()
    for seed in range(3):
        x = torch.rand(FOUR.x.shape, generator=torch.Generator().manual_seed(seed)).double()
        x.requires_grad_()
        found = []
        for way in (gradient, plain_gradient):
            slopes = way(victim.loss, tracked(victim.parameters), x, FOUR.y)
            total = flatten(slopes).square().sum()
            found.append((total.detach(), *torch.autograd.grad(total, x)))
        torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-12)
    assert len(made) == looked


@pytest.mark.parametrize("gradient", [plain_gradient, functional_gradient, descended_gradient()])
def test_simulated_steps_are_those_of_sgd(gradient) -> None:
    case = of_local_steps(smooth_net(), FOUR, 0.3, BATCHES)
    target = delta_to_gradient(case.observed[0].update, case.knowledge)
    trial = simulated(0.3, BATCHES)
    sent = tracked(case.victim.parameters)
    found = trial(case.victim.loss, sent, {"x": FOUR.x}, FOUR.y, gradient)
    for name, value in target.items():
        torch.testing.assert_close(found[name].detach(), value, rtol=1e-9, atol=1e-12)


def test_images_can_be_differentiated_through_simulated_steps() -> None:
    victim = of_gradient(smooth_net(), FOUR).victim
    direction = torch.randn(FOUR.x.shape, generator=torch.Generator().manual_seed(0)).double()
    trial = simulated(0.3, BATCHES)

    def total(x: torch.Tensor) -> torch.Tensor:
        sent = tracked(victim.parameters)
        found = trial(victim.loss, sent, {"x": x}, FOUR.y, plain_gradient)
        return flatten(found).square().sum()

    x = FOUR.x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(total(x), x)
    step = 1e-5
    by_difference = (total(FOUR.x + step * direction) - total(FOUR.x - step * direction)) / 2 / step
    torch.testing.assert_close((slope * direction).sum(), by_difference.detach(), rtol=1e-6, atol=0)


def test_one_step_is_one_gradient_however_it_is_believed_to_come_about() -> None:
    case = of_local_steps(smooth_net(), FOUR, 0.3, [range(4)])
    loss, sent = case.victim.loss, case.victim.parameters
    update = case.observed[0].update
    other = digits([10, 11, 12, 13]).x
    against = cosine(as_row(delta_to_gradient(update, case.knowledge)))
    at_zero = {"x": other, "alpha": torch.tensor(0.0, dtype=torch.float64)}
    found = [
        against(row_of(trial(loss, sent, at_zero, FOUR.y, functional_gradient), sent))
        for trial in (at_start, simulated(0.3, [range(4)]), surrogate(update.tensors))
    ]
    assert float(found[0]) > 1e-3
    for other_belief in found[1:]:
        torch.testing.assert_close(other_belief, found[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("trial", [at_start, simulated(0.3, BATCHES)])
def test_trials_can_be_vmapped(trial) -> None:
    case = of_gradient(smooth_net(), FOUR)
    loss, sent = case.victim.loss, case.victim.parameters
    x = torch.stack([FOUR.x, digits([20, 21, 22, 23]).x])
    many = vmap(lambda v: trial(loss, sent, {"x": v}, FOUR.y, functional_gradient))(x)
    for row in range(2):
        one = trial(loss, sent, {"x": x[row]}, FOUR.y, functional_gradient)
        for name in sent:
            torch.testing.assert_close(many[name][row], one[name])


def test_the_gap_of_the_approximation_falls_as_the_square_of_the_rate() -> None:
    gaps = []
    for lr in (0.02, 0.01, 0.005, 0.0025):
        case = of_local_steps(smooth_net(), FOUR, lr, ((0, 1), (2, 3)))
        update = case.observed[0].update
        found = at_start(
            case.victim.loss, case.victim.parameters, {"x": FOUR.x}, FOUR.y, functional_gradient
        )
        sent = delta_to_gradient(update, case.knowledge)
        gaps.append(float(cosine(as_row(sent))(row_of(found, sent))))
    ratios = [one / two for one, two in zip(gaps, gaps[1:], strict=False)]
    assert all(3.5 < ratio < 4.5 for ratio in ratios), ratios


@pytest.mark.parametrize(("lr", "batches"), [(0.0, [(0,)]), (0.1, []), (0.1, [()])])
def test_simulations_that_cannot_be_are_refused(lr: float, batches: list[tuple[int, ...]]) -> None:
    with pytest.raises(SettingsError):
        simulated(lr, batches)
