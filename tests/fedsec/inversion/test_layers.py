"""Layers that cannot be inverted are named before anything is tried."""

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fedsec.errors import SettingsError
from fedsec.inversion.layers import refuse_unfit, remarks
from fedsec.inversion.victim import classifier
from fedsec.nets import NETS


class Once(torch.autograd.Function):
    """A square whose gradient has no gradient."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[no-untyped-def,override]
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    @once_differentiable
    def backward(ctx, slope: Tensor) -> Tensor:  # type: ignore[no-untyped-def,override]
        return 2 * ctx.saved_tensors[0] * slope


class Square(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = Once.apply(x)
        return found


class Between(nn.Module):
    """The step that cannot be differentiated twice is in no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = Once.apply(self.dense(x.flatten(1)))
        return found


@pytest.mark.parametrize("name", NETS)
def test_networks_of_the_package_can_be_inverted(name: str) -> None:
    victim = classifier(NETS[name](3, 16, 10))
    assert refuse_unfit(victim, (3, 16, 16), 10) is victim


def test_a_layer_without_a_second_derivative_is_named() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 9), Square(), nn.Linear(9, 10))
    with pytest.raises(SettingsError, match=r"layer '2' \(Square\) cannot be differentiated twice"):
        refuse_unfit(classifier(net), (1, 8, 8), 10)


def test_a_step_between_layers_is_not_blamed_on_a_layer() -> None:
    with pytest.raises(SettingsError, match="though each of its layers can"):
        refuse_unfit(classifier(Between()), (1, 8, 8), 10)


def test_images_and_classes_that_do_not_fit_are_refused() -> None:
    victim = classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    with pytest.raises(SettingsError, match="images of 1 x 9 x 9 do not pass"):
        refuse_unfit(victim, (1, 9, 9), 10)
    with pytest.raises(SettingsError, match=r"\(2, 10\) to 2 images: 7 classes need \(2, 7\)"):
        refuse_unfit(victim, (1, 8, 8), 7)


def test_what_layers_mean_is_said() -> None:
    plain = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.Sigmoid(), nn.Dropout(0.0))
    assert list(remarks(plain)) == []
    loaded = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.5)
    )
    said = " ".join(remarks(loaded))
    assert len(list(remarks(loaded))) == 4
    for word in ("ReLU", "Max pooling", "Batch normalisation", "Drop-out"):
        assert word in said
