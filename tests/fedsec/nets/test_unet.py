"""The small U-Net: form, second derivatives, its account of time, and what it refuses."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from fedsec.core.functional import flatten, unflatten
from fedsec.errors import SettingsError
from fedsec.nets.unet import Attention, DiffusionUNet


def made(**given: object) -> DiffusionUNet:
    """A network whose parameters are drawn from a fixed seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return DiffusionUNet(**given)  # type: ignore[arg-type]


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("channels", "mults", "size", "attention"),
    [(1, (1, 2, 4), (8, 8), False), (3, (1, 2), (6, 10), True), (2, (2,), (5, 7), True)],
)
def test_the_answer_has_the_form_of_the_images(
    channels: int, mults: tuple[int, ...], size: tuple[int, int], attention: bool
) -> None:
    net = made(channels=channels, width=8, mults=mults, groups=4, attention=attention)
    x, t = drawn(3, channels, *size), torch.tensor([0, 5, 2])
    answer, hidden = net.hidden(x, t)
    assert answer.shape == x.shape and hidden.shape == (3, 8, *size)
    assert torch.equal(net(x, t), answer)
    assert torch.equal(net.last(hidden), answer)
    torch.testing.assert_close(net(x, t.float()), answer, rtol=0, atol=0)


def test_images_do_not_see_each_other() -> None:
    net, x, t = made(attention=True), drawn(3, 1, 8, 8), torch.tensor([0, 9, 9])
    one_by_one = torch.cat([net(x[k : k + 1], t[k : k + 1]) for k in range(3)])
    torch.testing.assert_close(net(x, t), one_by_one, rtol=0, atol=1e-5)


def test_the_default_has_so_many_parameters() -> None:
    assert sum(value.numel() for value in made().parameters()) == 179_249


@pytest.mark.parametrize("attention", [False, True])
def test_the_gradient_can_be_differentiated(attention: bool) -> None:
    """In float64, along random directions of all parameters and the image at once."""
    net = made(width=4, mults=(1, 2), groups=2, attention=attention).double()
    like = {name: value.detach() for name, value in net.named_parameters()}
    x, t = drawn(2, 1, 4, 4).double().requires_grad_(), torch.tensor([1, 6])

    def squares(x: Tensor, vector: Tensor) -> Tensor:
        return functional_call(net, unflatten(vector, like), (x, t)).square().mean()

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        inputs = (x, flatten(like).requires_grad_())
        assert torch.autograd.gradcheck(squares, inputs, fast_mode=True)
        assert torch.autograd.gradgradcheck(squares, inputs, fast_mode=True)


def test_the_embedding_of_time_is_its_formula() -> None:
    net = made(width=8, groups=4)
    found = net.embed_time(torch.tensor([0, 3])).detach()
    rates = [math.exp(-math.log(10_000) * k / 3) for k in range(4)]
    for row, t in zip(found, (0, 3), strict=True):
        waves = [math.sin(t * r) for r in rates] + [math.cos(t * r) for r in rates]
        torch.testing.assert_close(row, torch.tensor(waves), rtol=0, atol=1e-6)
    every = net.double().embed_time(torch.arange(1024))
    apart = torch.cdist(every, every) + torch.eye(1024, dtype=torch.float64)
    assert float(apart.min()) > 1e-3  # so steps can be told from it


def test_the_gradient_of_the_first_time_layer_is_an_outer_product_with_the_embedding() -> None:
    net, t = made(), torch.tensor([11])
    loss = net(drawn(1, 1, 8, 8), t).square().sum()
    layer = net.get_submodule(net.time_layer)
    assert isinstance(layer, nn.Linear) and layer.bias is not None
    weight, bias = torch.autograd.grad(loss, (layer.weight, layer.bias))
    torch.testing.assert_close(weight, bias[:, None] * net.embed_time(t))


def test_attention_is_that_of_torch() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = Attention(16, 4).double()
    x = drawn(2, 16, 3, 5).double()
    query, key, value = (
        part.view(2, 4, 4, 15).transpose(2, 3) for part in layer.ask(layer.norm(x)).chunk(3, dim=1)
    )
    found = nn.functional.scaled_dot_product_attention(query, key, value)
    expected = x + layer.answer(found.transpose(2, 3).reshape(2, 16, 3, 5))
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"width": 12}, "12 channels do not divide into 8 groups"),
        ({"width": 5, "groups": 1}, "width = 5: give an even number"),
        ({"mults": ()}, "give at least 1"),
        ({"channels": 0}, "channels = 0"),
        ({"width": 6, "groups": 2, "mults": (1, 3), "attention": True}, "into 4 heads"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        made(**given)


def test_images_that_do_not_fit_are_refused() -> None:
    net, t = made(), torch.tensor([0])
    for shape, said in (
        ((1, 1, 8, 10), "8 x 10: 3 levels halve the width 2 times, so pad it to a multiple of 4"),
        ((1, 1, 7, 8), "halve the height"),
        ((1, 3, 8, 8), "3 channels, where the network takes 1"),
    ):
        with pytest.raises(SettingsError, match=said):
            net(drawn(*shape), t)
