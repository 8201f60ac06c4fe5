"""The U-Net of diffusers: form, second derivatives, its time layer, and what it refuses."""

from __future__ import annotations

import importlib

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from fedsec.core.functional import flatten, unflatten
from fedsec.errors import SettingsError
from fedsec.nets.diffusers_unet import DiffusersUNet


def made(**given: object) -> DiffusersUNet:
    """A small network whose parameters are drawn from a fixed seed."""
    pytest.importorskip("diffusers")
    small = {"channels": 1, "widths": (8, 16), "layers": 1, "groups": 4}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return DiffusersUNet(**{**small, **given})  # type: ignore[arg-type]


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("attention", [(), (False, True)])
def test_the_answer_has_the_form_of_the_images(attention: tuple[bool, ...]) -> None:
    net = made(channels=3, attention=attention)
    x, t = drawn(2, 3, 6, 8), torch.tensor([0, 5])
    answer, hidden = net.hidden(x, t)
    assert answer.shape == x.shape and hidden.shape == (2, 8, 6, 8)
    assert torch.equal(net(x, t), answer)
    assert torch.equal(net.net.conv_out(hidden), answer)
    assert not net.net.conv_out._forward_pre_hooks


def test_plain_attention_computes_what_the_fused_one_does() -> None:
    plain, fused = (made(attention=(True, True), fused=fused) for fused in (False, True))
    x, t = drawn(2, 1, 8, 8), torch.tensor([3, 9])
    torch.testing.assert_close(plain(x, t), fused(x, t), rtol=0, atol=1e-6)


def test_the_gradient_can_be_differentiated() -> None:
    net = made(attention=(False, True)).double()
    like = {name: value.detach() for name, value in net.named_parameters()}
    x, t = drawn(1, 1, 4, 4).double().requires_grad_(), torch.tensor([6])

    def squares(x: Tensor, vector: Tensor) -> Tensor:
        return functional_call(net, unflatten(vector, like), (x, t)).square().mean()

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        inputs = (x, flatten(like).requires_grad_())
        assert torch.autograd.gradgradcheck(squares, inputs, fast_mode=True)


def test_the_gradient_of_the_first_time_layer_is_an_outer_product_with_the_embedding() -> None:
    net, t = made(), torch.tensor([11])
    loss = net(drawn(1, 1, 8, 8), t).square().sum()
    layer = net.get_submodule(net.time_layer)
    assert isinstance(layer, nn.Linear)
    weight, bias = torch.autograd.grad(loss, (layer.weight, layer.bias))
    torch.testing.assert_close(weight, bias[:, None] * net.embed_time(t))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"widths": (8, 18)}, "18 channels do not divide into 4 groups"),
        ({"widths": (8, 12), "attention": (False, True)}, "attention heads of 8"),
        ({"attention": (True,)}, "attention says 1 levels, where widths has 2"),
        ({"layers": 0}, "layers = 0"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        made(**given)


def test_images_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SettingsError, match="so pad it to a multiple of 2"):
        made()(drawn(1, 1, 5, 4), torch.tensor([0]))


def test_without_diffusers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    load = importlib.import_module

    def missing(name: str) -> object:
        if name.startswith("diffusers"):
            raise ImportError(name)
        return load(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r"pip install 'crowdlearn\[diffusion\]'"):
        DiffusersUNet()
