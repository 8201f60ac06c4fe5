"""Which denoisers can be differentiated twice."""

from __future__ import annotations

import pytest
import torch

from fedsec.core.functional import double_backward
from fedsec.diffusion.model import make_denoiser
from fedsec.diffusion.twice import refuse_once_differentiable
from fedsec.errors import SettingsError

SHAPE = (1, 8, 8)
DIFFUSERS = {
    "kind": "diffusers", "channels": 1, "widths": [8, 16], "attention": [False, True], "layers": 1,
    "groups": 4,
}  # fmt: skip


@pytest.mark.parametrize("attention", [False, True])
def test_the_small_one_can(attention: bool) -> None:
    net = make_denoiser({"kind": "unet", "attention": attention}, seed=0)
    refuse_once_differentiable(net, SHAPE)
    assert all(value.grad is None for value in net.parameters())


def test_that_of_diffusers_can_unless_it_is_fused() -> None:
    pytest.importorskip("diffusers")
    refuse_once_differentiable(make_denoiser(DIFFUSERS, seed=0), SHAPE)
    fused = make_denoiser({**DIFFUSERS, "fused": True}, seed=0)
    with pytest.raises(
        SettingsError, match=r"layer 'net.*' of the network cannot be .*fused=False"
    ):
        refuse_once_differentiable(fused, SHAPE)
    with double_backward():
        refuse_once_differentiable(fused, SHAPE)


def test_a_step_without_a_second_derivative_is_found() -> None:
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
            return x.exp()

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: object, slope: torch.Tensor) -> torch.Tensor:
            return 2 * slope

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(1))

        def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            return Once.apply(self.scale * x)

    with pytest.raises(SettingsError, match="the network cannot be differentiated twice"):
        refuse_once_differentiable(Net(), SHAPE)
