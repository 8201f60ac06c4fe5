"""FGSM, BIM, PGD and MI-FGSM: those of foolbox, and of a linear model in closed form."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedsec.errors import SettingsError
from fedsec.stealing.perturbations import (
    PERTURBATIONS,
    Bim,
    Fgsm,
    MiFgsm,
    Pgd,
    bim,
    by_mean,
    fgsm,
    mi_fgsm,
    pgd,
)

every_kind = pytest.mark.parametrize("kind", PERTURBATIONS)
both_ways = pytest.mark.parametrize("targeted", [False, True])


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def case() -> tuple[nn.Module, Tensor, Tensor]:
    """A smooth network of 3 classes and eight images, some of whose pixels are 0 and 1."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(2, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 16, 16), nn.Tanh(),
            nn.Linear(16, 3),
        )  # fmt: skip
    x = (torch.rand(8, 2, 6, 6, generator=seeded(1)) * 1.4 - 0.2).clamp(0, 1)
    return net.eval(), x, torch.randint(3, (8,), generator=seeded(2))


def foolbox_images(attack: Any, case: tuple[nn.Module, Tensor, Tensor], targeted: bool, eps: float):
    """What foolbox makes, drawing from torch's generator at seed 5."""
    foolbox = pytest.importorskip("foolbox")
    net, x, y = case
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
        criterion = (
            foolbox.criteria.TargetedMisclassification(y)
            if targeted
            else foolbox.criteria.Misclassification(y)
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            return attack(model, x, criterion, epsilons=eps)[0]


@pytest.fixture(scope="module")
def attacks() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("foolbox").attacks


def test_fgsm_is_that_of_foolbox(attacks: Any, case: tuple[nn.Module, Tensor, Tensor]) -> None:
    expected = foolbox_images(attacks.LinfFastGradientAttack(), case, False, 0.1)
    assert (fgsm(*case, eps=0.1) - expected).abs().max() <= 1e-6
    assert (expected - case[1]).abs().max() > 0.09


@both_ways
def test_bim_is_that_of_foolbox(
    attacks: Any, case: tuple[nn.Module, Tensor, Tensor], targeted: bool
) -> None:
    attack = attacks.LinfBasicIterativeAttack(abs_stepsize=0.03, steps=7)
    expected = foolbox_images(attack, case, targeted, 0.1)
    found = bim(*case, eps=0.1, steps=7, step=0.03, targeted=targeted)
    assert (found - expected).abs().max() <= 1e-6


@both_ways
def test_pgd_is_that_of_foolbox(
    attacks: Any, case: tuple[nn.Module, Tensor, Tensor], targeted: bool
) -> None:
    attack = attacks.LinfProjectedGradientDescentAttack(abs_stepsize=0.03, steps=7)
    expected = foolbox_images(attack, case, targeted, 0.1)
    found = pgd(*case, eps=0.1, steps=7, step=0.03, targeted=targeted, generator=seeded(5))
    assert (found - expected).abs().max() <= 1e-6
    other = pgd(*case, eps=0.1, steps=1, step=0.0, generator=seeded(6))
    assert (other - case[1]).abs().max() > 0.09  # the start is random


@both_ways
def test_mi_fgsm_with_signs_is_that_of_foolbox(
    attacks: Any, case: tuple[nn.Module, Tensor, Tensor], targeted: bool
) -> None:
    attack = attacks.LinfMomentumIterativeFastGradientMethod(
        momentum=0.9, abs_stepsize=0.02, steps=6
    )
    expected = foolbox_images(attack, case, targeted, 0.1)
    found = mi_fgsm(
        *case, eps=0.1, steps=6, step=0.02, decay=0.9, slope=torch.sign, targeted=targeted
    )
    assert (found - expected).abs().max() <= 1e-6


def test_mi_fgsm_is_the_loop_of_the_paper(case: tuple[nn.Module, Tensor, Tensor]) -> None:
    net, x, y = case
    moved, gathered = x.clone(), torch.zeros_like(x)
    for _ in range(5):
        moved.requires_grad_()
        loss = nn.functional.cross_entropy(net(moved), y, reduction="sum")
        (slope,) = torch.autograd.grad(loss, moved)
        rows = [0.8 * old + new / new.abs().sum() for old, new in zip(gathered, slope, strict=True)]
        gathered = torch.stack(rows)
        moved = (moved.detach() + 0.02 * gathered.sign()).clamp(0, 1)
        moved = torch.minimum(torch.maximum(moved, x - 0.06), x + 0.06)
    found = mi_fgsm(net, x, y, eps=0.06, steps=5, step=0.02, decay=0.8)
    assert (found - moved).abs().max() <= 1e-6


def test_without_memory_mi_fgsm_is_bim(case: tuple[nn.Module, Tensor, Tensor]) -> None:
    found = mi_fgsm(*case, eps=0.1, steps=4, step=0.03, decay=0)
    assert torch.equal(found, bim(*case, eps=0.1, steps=4, step=0.03))


def test_of_a_linear_model_every_pixel_goes_the_way_of_its_weight() -> None:
    """Two classes: the loss of class 0 rises along w_1 - w_0, everywhere."""
    weight = torch.randn(2, 9, generator=seeded(3))
    x = torch.full((1, 1, 3, 3), 0.5)
    y = torch.zeros(1, dtype=torch.int64)
    away = (weight[1] - weight[0]).sign().view(1, 1, 3, 3)

    def model(images: Tensor) -> Tensor:
        return images.flatten(1) @ weight.T

    assert torch.allclose(fgsm(model, x, y, eps=0.2), x + 0.2 * away)
    assert torch.allclose(fgsm(model, x, y, eps=0.2, targeted=True), x - 0.2 * away)
    assert torch.allclose(bim(model, x, y, eps=0.25, steps=5, step=0.02), x + 0.1 * away)
    assert torch.allclose(bim(model, x, y, eps=0.05, steps=5, step=0.02), x + 0.05 * away)
    assert torch.allclose(mi_fgsm(model, x, y, eps=0.3, steps=3, step=0.1), x + 0.3 * away)


@every_kind
@both_ways
def test_images_stay_within_eps_and_range(
    kind: str, targeted: bool, case: tuple[nn.Module, Tensor, Tensor]
) -> None:
    net, x, y = case
    for eps in (0.0, 0.03, 0.3, 2.0):
        found = PERTURBATIONS[kind](eps=eps).craft(
            net, x, y, targeted=targeted, generator=seeded(4)
        )
        assert (found - x).abs().max() <= eps + 1e-6
        assert found.min() >= 0 and found.max() <= 1
        assert torch.equal(found, x) or eps > 0


def test_bim_moves_at_most_the_sum_of_its_steps(case: tuple[nn.Module, Tensor, Tensor]) -> None:
    assert (Bim().craft(*case) - case[1]).abs().max() <= 0.1 + 1e-6


@every_kind
def test_the_loss_rises_and_that_of_a_target_falls(
    kind: str, case: tuple[nn.Module, Tensor, Tensor]
) -> None:
    net, x, y = case

    def loss(images: Tensor) -> float:
        return float(nn.functional.cross_entropy(net(images), y).detach())

    attack = PERTURBATIONS[kind](eps=0.1)
    assert loss(attack.craft(net, x, y, targeted=False, generator=seeded(4))) > loss(x) + 0.05
    assert loss(attack.craft(net, x, y, targeted=True, generator=seeded(4))) < loss(x) - 0.05


@every_kind
def test_the_model_and_the_images_are_as_before(
    kind: str, case: tuple[nn.Module, Tensor, Tensor]
) -> None:
    net, x, y = case
    before = x.clone()
    net.zero_grad()  # foolbox leaves gradients
    with torch.no_grad():  # which attacks must not need off
        PERTURBATIONS[kind]().craft(net, x, y, targeted=False, generator=seeded(4))
    assert torch.equal(x, before)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_the_mean_slope_of_no_slope_is_none() -> None:
    slopes = torch.stack([torch.zeros(1, 2, 2), torch.tensor([[[1.0, -3.0], [0.0, 4.0]]])])
    assert torch.equal(by_mean(slopes)[0], slopes[0])
    assert torch.allclose(by_mean(slopes)[1], slopes[1] / 8)


def test_settings_out_of_range_are_refused(case: tuple[nn.Module, Tensor, Tensor]) -> None:
    with pytest.raises(SettingsError, match="eps = -0.1: give a number from 0"):
        Fgsm(eps=-0.1)
    with pytest.raises(SettingsError, match="eps = nan"):
        fgsm(*case, eps=float("nan"))
    with pytest.raises(SettingsError, match="steps = 0: give at least 1"):
        Bim(steps=0)
    with pytest.raises(SettingsError, match="step = -1"):
        Pgd(step=-1)
    with pytest.raises(SettingsError, match="decay = -1"):
        MiFgsm(decay=-1)
    with pytest.raises(SettingsError, match="PGD starts at random: give generator"):
        Pgd().craft(*case)
