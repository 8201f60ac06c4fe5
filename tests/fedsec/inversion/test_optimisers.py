"""Restarts side by side are restarts one after another, by torch's own optimisers."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fedsec.errors import SettingsError
from fedsec.inversion.optimisers import LBFGS, Adam, Separate

N_STEPS = 60
N_FAR = 25  # of L-BFGS: before torch takes a step for too small to be remembered


def bowl(x: Tensor) -> Tensor:
    """Quadratic, badly scaled."""
    scale = torch.logspace(0, 2, x.numel(), dtype=x.dtype)
    return (scale * x.flatten() ** 2).sum()


def valley(x: Tensor) -> Tensor:
    """Rosenbrock's."""
    x = x.flatten()
    return (10 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def starts(n: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(n, 2, 3, generator=generator, dtype=torch.float64)


def slopes_of(loss: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Losses and slopes of all rows."""
    leaf = x.clone().requires_grad_()
    losses = torch.stack([loss(row) for row in leaf])
    (found,) = torch.autograd.grad(losses.sum(), leaf)
    return losses.detach(), found


@pytest.mark.parametrize("loss", [bowl, valley])
@pytest.mark.parametrize(("history", "n"), [(4, 1), (100, 3)])
def test_each_row_goes_the_way_of_torchs_lbfgs(
    loss: Callable[[Tensor], Tensor], history: int, n: int
) -> None:
    x = starts(n)
    expected = []
    for row in x.clone():
        leaf = row.clone().requires_grad_()
        optimiser = torch.optim.LBFGS(
            [leaf], lr=0.5, max_iter=N_FAR, history_size=history, tolerance_grad=0,
            tolerance_change=0,
        )  # fmt: skip

        def closure(leaf: Tensor = leaf, optimiser: torch.optim.LBFGS = optimiser) -> Tensor:
            optimiser.zero_grad()
            found = loss(leaf)
            found.backward()
            return found

        optimiser.step(closure)
        expected.append(leaf.detach())
    stepper = LBFGS(lr=0.5, history=history).begin({"x": x})
    for step in range(N_FAR):
        losses, slopes = slopes_of(loss, x)
        stepper.step(losses, {"x": slopes}, step / N_FAR)
    torch.testing.assert_close(x, torch.stack(expected), rtol=1e-7, atol=1e-9)


def test_a_row_of_lbfgs_that_has_arrived_stays_there() -> None:
    x = torch.zeros(2, 1, 3, dtype=torch.float64)
    x[1] = 1.0
    stepper = LBFGS(flat_slope=1e-6).begin({"x": x})
    for step in range(3):
        losses, slopes = slopes_of(bowl, x)
        stepper.step(losses, {"x": slopes}, step / 3)
    assert (x[0] == 0).all()
    assert (x[1] != 1).all()


@pytest.mark.parametrize("signed", [False, True])
def test_each_row_goes_the_way_of_torchs_adam(signed: bool) -> None:
    x = starts()
    expected = []
    for row in x.clone():
        leaf = row.clone().requires_grad_()
        adam = torch.optim.Adam([leaf], lr=0.1)
        falls = torch.optim.lr_scheduler.MultiStepLR(adam, [15, 30, 45], 0.1)
        for _ in range(N_STEPS):
            adam.zero_grad()
            valley(leaf).backward()
            if signed:
                assert leaf.grad is not None
                leaf.grad.sign_()
            adam.step()
            falls.step()
        expected.append(leaf.detach())
    stepper = Adam(lr=0.1, signed=signed, milestones=(0.25, 0.5, 0.75)).begin({"x": x})
    for step in range(N_STEPS):
        losses, slopes = slopes_of(valley, x)
        stepper.step(losses, {"x": slopes}, step / N_STEPS)
    torch.testing.assert_close(x, torch.stack(expected), rtol=1e-9, atol=1e-12)


def test_the_rate_rises_and_falls() -> None:
    assert Adam(lr=1.0).rate(0.0) == 1.0
    assert Adam(lr=1.0).rate(0.5) == pytest.approx(0.1)
    assert Adam(lr=1.0).rate(0.9) == pytest.approx(1e-3)
    smooth = Adam(lr=2.0, cosine=True, warm_up=0.1)
    assert [smooth.rate(share) for share in (0.0, 0.5, 1.0)] == pytest.approx([0, 1, 0])
    assert smooth.rate(0.05) < smooth.rate(0.1)


def test_small_losses_are_remembered_too() -> None:
    """torch's L-BFGS has no memory there, and stays."""
    x = starts(1)
    stepper = LBFGS().begin({"x": x})
    for _ in range(60):
        losses, slopes = slopes_of(lambda row: 1e-12 * bowl(row), x)
        stepper.step(losses, {"x": slopes}, 0.0)
    assert float(x.abs().max()) < 1e-3


def test_several_variables_move_together() -> None:
    x, z = starts(), starts().flatten(1)[:, :2].clone()
    both = torch.cat([x.flatten(1), z], dim=1)
    first, second = LBFGS().begin({"x": x, "z": z}), LBFGS().begin({"both": both})
    for _ in range(20):
        losses, slopes = slopes_of(valley, both)
        second.step(losses, {"both": slopes}, 0.0)
        losses, slopes = slopes_of(valley, torch.cat([x.flatten(1), z], dim=1))
        first.step(losses, {"x": slopes[:, :6].reshape(x.shape), "z": slopes[:, 6:]}, 0.0)
    torch.testing.assert_close(torch.cat([x.flatten(1), z], dim=1), both)


@pytest.mark.parametrize("lr", [0.0, -1.0, float("nan")])
def test_rates_must_be_above_zero(lr: float) -> None:
    with pytest.raises(SettingsError, match="above 0"):
        Adam(lr=lr)
    with pytest.raises(SettingsError, match="above 0"):
        LBFGS(lr=lr)


def test_every_variable_moves_by_its_own_optimiser_and_in_its_own_iterations() -> None:
    """Apart from the others, and with what it remembers: a rest is no step."""
    fast, slow = Adam(lr=0.1, milestones=()), Adam(lr=0.01, milestones=())
    both = {"x": starts(), "eps": starts()}
    stepper = Separate(of={"x": fast, "eps": slow}, moves={"eps": lambda at: at % 3 == 1}).begin(
        both
    )
    alone = {"x": {"x": starts()}, "eps": {"eps": starts()}}
    steppers = {"x": fast.begin(alone["x"]), "eps": slow.begin(alone["eps"])}
    for at in range(9):
        found = {name: slopes_of(bowl, value) for name, value in both.items()}
        stepper.step(found["x"][0], {name: one[1] for name, one in found.items()}, at / 9)
        for name, own in steppers.items():
            if name == "x" or at % 3 == 1:
                losses, slopes = slopes_of(bowl, alone[name][name])
                own.step(losses, {name: slopes}, at / 9)
        for name, value in both.items():
            assert torch.equal(value, alone[name][name])
    with pytest.raises(SettingsError, match="no optimiser is given for eps"):
        Separate(of={"x": fast}).begin(both)
