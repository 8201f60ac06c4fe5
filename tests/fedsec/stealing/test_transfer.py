"""Transfer success: cases small enough to count by hand, and S = T is white-box success."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedsec.core.functional import state_of
from fedsec.data.images import ImageData, Images
from fedsec.errors import DataError, SettingsError
from fedsec.stealing.oracle import ModelOracle
from fedsec.stealing.perturbations import Bim, Fgsm, Pgd
from fedsec.stealing.transfer import FoolboxAttack, eps_sweep, transfer_success
from fedsec.stealing.victims import Recipe, train_victim


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Shade(nn.Module):
    """Class 0, 1 or 2 by the mean grey of an image: below 1/3, below 2/3, above."""

    def forward(self, x: Tensor) -> Tensor:
        grey = x.flatten(1).mean(dim=1, keepdim=True)
        return -(grey - torch.tensor([1 / 6, 3 / 6, 5 / 6], device=x.device)).abs()


def greys(*values: float) -> Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).clone()


THREE = Images(greys(0.1, 0.4, 0.9), torch.tensor([0, 1, 1]))  # the last one is labelled wrongly


def brighter(x: Tensor, y: Tensor) -> Tensor:
    return x + 0.25


def test_untargeted_success_counts_images_that_the_victim_had_right() -> None:
    """0.1 -> 0.35 leaves class 0, 0.4 -> 0.65 stays in class 1, 0.9 does not count."""
    found = transfer_success(Shade(), Shade(), THREE, brighter)
    assert (found.success, found.n, found.targeted) == (0.5, 2, False)
    assert found.largest == pytest.approx(0.25)


def test_targeted_success_counts_images_that_were_not_the_target() -> None:
    """Target 1: 0.1 -> 0.35 and 0.9 -> 1 count, and the first gets there. Target 2: the first two
    count, and neither does."""
    found = transfer_success(Shade(), Shade(), THREE, brighter, targets=1)
    assert (found.success, found.n, found.targeted) == (0.5, 2, True)
    assert transfer_success(Shade(), Shade(), THREE, brighter, targets=2).success == 0.0
    own = transfer_success(Shade(), Shade(), THREE, brighter, targets=torch.tensor([1, 1, 0]))
    assert (own.success, own.n) == (0.5, 2)


def test_the_batch_changes_nothing_and_no_image_that_counts_is_nan() -> None:
    for batch in (1, 2, 3):
        assert transfer_success(Shade(), Shade(), THREE, brighter, batch=batch).success == 0.5
    wrong = Images(greys(0.1), torch.tensor([2]))
    found = transfer_success(Shade(), Shade(), wrong, brighter)
    assert math.isnan(found.success) and found.n == 0


def test_an_oracle_is_asked_twice_about_images_that_count() -> None:
    net = Shade()
    net.register_parameter("none", nn.Parameter(torch.zeros(1)))
    for mode in ("labels", "probabilities"):
        oracle = ModelOracle(net, state_of(net), (1, 2, 2), 3, mode=mode)
        assert transfer_success(net, oracle, THREE, brighter).success == 0.5
        assert oracle.queries == 3 + 2


def test_what_an_attack_is_given_are_true_labels_or_targets() -> None:
    given = []

    def look(x: Tensor, y: Tensor) -> Tensor:
        given.append(y.tolist())
        return x

    transfer_success(Shade(), Shade(), THREE, look)
    transfer_success(Shade(), Shade(), THREE, look, targets=2)
    assert given == [[0, 1], [2, 2]]


@pytest.fixture(scope="module")
def victim(digits: ImageData) -> nn.Module:
    return train_victim(digits, 0, Recipe(steps=120))[0]


@pytest.fixture(scope="module")
def some(digits: ImageData) -> Images:
    return digits.test.subset(torch.arange(0, 500, 5))


def label(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return net(x).argmax(dim=1)


def test_of_the_victim_itself_it_is_white_box_success(victim: nn.Module, some: Images) -> None:
    attack = Bim(eps=0.15, steps=6, step=0.05)
    right = label(victim, some.x) == some.y
    x, y = some.x[right], some.y[right]
    white_box = (label(victim, attack.craft(victim, x, y)) != y).double().mean()
    found = transfer_success(victim, victim, some, attack)
    assert found.success == pytest.approx(float(white_box)) and found.success > 0.3
    assert found.n == int(right.sum())

    others = label(victim, some.x) != 3
    x = some.x[others]
    target = torch.full((len(x),), 3)
    white_box = (label(victim, attack.craft(victim, x, target, targeted=True)) == 3).double().mean()
    found = transfer_success(victim, victim, some, attack, targets=3)
    assert found.success == pytest.approx(float(white_box)) and found.n == len(x)


def test_a_sweep_starts_at_nothing_and_rises(victim: nn.Module, some: Images) -> None:
    found = eps_sweep(
        victim, victim, some, lambda eps: Pgd(eps=eps, steps=8, step=eps / 4),
        [0.0, 0.05, 0.2, 0.4], generator=seeded(1),
    )  # fmt: skip
    successes = [transfer.success for transfer in found]
    assert successes[0] == 0.0 and successes == sorted(successes) and successes[-1] > 0.8
    assert all(
        transfer.largest <= eps + 1e-6
        for transfer, eps in zip(found, [0.0, 0.05, 0.2, 0.4], strict=True)
    )


def test_networks_keep_their_modes_and_gradients(victim: nn.Module, some: Images) -> None:
    victim.zero_grad()  # of its training
    victim.train()
    try:
        before = state_of(victim)
        in_training = transfer_success(victim, victim, some, Fgsm(eps=0.1))
        assert victim.training
        assert all(parameter.grad is None for parameter in victim.parameters())
        after = state_of(victim)
        assert all(torch.equal(value, after.buffers[key]) for key, value in before.buffers.items())
    finally:
        victim.eval()
    assert transfer_success(victim, victim, some, Fgsm(eps=0.1)) == in_training


@pytest.fixture(scope="module")
def attacks() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("foolbox").attacks


def test_an_attack_of_foolbox_does_what_ours_does(
    attacks: Any, victim: nn.Module, some: Images
) -> None:
    theirs = attacks.LinfBasicIterativeAttack(abs_stepsize=0.05, steps=6)
    for targets in (None, 3):
        ours = transfer_success(
            victim, victim, some, Bim(eps=0.15, steps=6, step=0.05), targets=targets
        )
        found = transfer_success(victim, victim, some, theirs, eps=0.15, targets=targets)
        assert found.success == ours.success and found.n == ours.n
        assert found.largest == pytest.approx(ours.largest, abs=1e-6)
    swept = eps_sweep(victim, victim, some, lambda eps: FoolboxAttack(theirs, eps), [0.15])
    assert swept[0].success == transfer_success(victim, victim, some, theirs, eps=0.15).success
    with pytest.raises(SettingsError, match="foolbox holds no eps: give eps"):
        transfer_success(victim, victim, some, theirs)


class Torchattack:
    """As an attack of torchattacks is used: it holds its model, and its direction."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.targeted = model, False

    def set_mode_targeted_by_label(self) -> None:
        self.targeted = True

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        return Fgsm(eps=0.2).craft(self.model, x, y, targeted=self.targeted)


def test_an_attack_that_holds_its_model_is_called(victim: nn.Module, some: Images) -> None:
    attack = Torchattack(victim)
    ours = transfer_success(victim, victim, some, Fgsm(eps=0.2))
    assert transfer_success(victim, victim, some, attack) == ours
    with pytest.raises(SettingsError, match="call its set_mode_targeted_by_label"):
        transfer_success(victim, victim, some, attack, targets=3)
    attack.set_mode_targeted_by_label()
    ours = transfer_success(victim, victim, some, Fgsm(eps=0.2), targets=3)
    assert transfer_success(victim, victim, some, attack, targets=3) == ours
    with pytest.raises(SettingsError, match="eps = 0.2 has no effect here"):
        transfer_success(victim, victim, some, attack, eps=0.2)


def test_bad_attacks_victims_and_targets_are_refused() -> None:
    net = Shade()
    with pytest.raises(DataError, match=r"the attack gives \(1, 1, 2, 2\) for images \(2, 1, 2, 2"):
        transfer_success(net, net, THREE, lambda x, y: x[:1])
    with pytest.raises(DataError, match="NaN or infinite"):
        transfer_success(net, net, THREE, lambda x, y: x / 0)
    with pytest.raises(DataError, match=r"the victim answers torch.float32 of shape \(3,\)"):
        transfer_success(net, lambda x: x.flatten(1).mean(1), THREE, brighter)
    with pytest.raises(SettingsError, match="2 targets for 3 images"):
        transfer_success(net, net, THREE, brighter, targets=torch.tensor([1, 2]))
    with pytest.raises(SettingsError, match="a target is -1"):
        transfer_success(net, net, THREE, brighter, targets=-1)
    with pytest.raises(SettingsError, match="PGD starts at random: give generator"):
        transfer_success(net, net, THREE, Pgd())
