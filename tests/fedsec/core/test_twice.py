"""Layers made for a second pass by their input, beside torch's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv2d
from torch.testing import assert_close

from fedsec.core import twice
from fedsec.core.twice import ConstantParameters
from fedsec.nets.residual import resnet

Layer = Callable[[Tensor, list[Tensor]], Tensor]
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
# channels of images and of maps, kernel, stride, padding, dilation, bias
FORMS = [
    *product((1, 3, 8, 12), (4,), (3,), (1,), (0, 1), (1,), (True, False)),
    *product((1, 8, 20), (6,), (1, 5), (1, 2, 3), (0, 2), (1,), (True,)),
    *product((2, 9), (3,), (3,), (1, 2), (2, 4), (1, 2), (True,)),
]


@pytest.fixture(autouse=True)
def every_size(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(twice, "LARGE", 0)
    yield


def drawn(*shape: int, device: str = "cpu") -> Tensor:
    found = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return found.to(device)


def second_slopes(
    layer: Layer, x: Tensor, parameters: list[Tensor], served: bool, first: bool
) -> list[Tensor]:
    """The slopes by the parameters, and what the images' slope of a function of them is."""
    x = x.clone().requires_grad_()
    leaves = [value.clone().requires_grad_() for value in parameters]

    def loss() -> Tensor:
        maps = x if first else (1.3 * x).tanh()
        return (layer(maps, leaves) - 0.2).pow(3).mean()

    if served:
        with ConstantParameters(x) as layers:
            value = loss()
        assert layers.gained
    else:
        value = loss()
    slopes = torch.autograd.grad(value, leaves, create_graph=True)
    of_all = sum(((k + 2) * slope).sin().sum() for k, slope in enumerate(slopes))
    assert isinstance(of_all, Tensor)
    (found,) = torch.autograd.grad(of_all, x)
    return [*[slope.detach() for slope in slopes], found]


def convolved(
    form: tuple[Any, ...], first: bool, device: str = "cpu"
) -> tuple[list[Tensor], list[Tensor]]:
    """What a convolution comes to here, and by torch."""
    seen, made, kernel, stride, padding, dilation, has_bias = form
    parameters = [drawn(made, seen, kernel, kernel, device=device)]
    parameters += [drawn(made, device=device)] if has_bias else []
    x = drawn(3, seen, 9, 11, device=device)

    def layer(maps: Tensor, given: list[Tensor]) -> Tensor:
        return conv2d(maps, *given, stride=stride, padding=padding, dilation=dilation)

    ours = second_slopes(layer, x, parameters, True, first)
    return ours, second_slopes(layer, x, parameters, False, first)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_convolutions_are_torchs(form: tuple[Any, ...], first: bool) -> None:
    ours, torchs = convolved(form, first)
    assert_close(ours, torchs, rtol=1e-9, atol=1e-12)


@gpu
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("form", FORMS[::6], ids=str)
def test_convolutions_on_a_gpu_are_torchs(form: tuple[Any, ...], first: bool) -> None:
    ours, torchs = convolved(form, first, "cuda")
    assert_close(ours, torchs, rtol=1e-9, atol=1e-12)


def test_two_sides_may_differ() -> None:
    x, weight = drawn(2, 3, 8, 12), drawn(4, 3, 3, 5)

    def layer(maps: Tensor, given: list[Tensor]) -> Tensor:
        return conv2d(maps, given[0], None, (2, 1), (0, 3), (1, 2))

    ours, torchs = (second_slopes(layer, x, [weight], served, False) for served in (True, False))
    assert_close(ours, torchs, rtol=1e-9, atol=1e-12)


def test_many_patches_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    form = 3, 4, 3, 2, 1, 1, True
    folded = []
    fold = nn.functional.fold
    monkeypatch.setattr(nn.functional, "fold", lambda *given: folded.append(1) or fold(*given))
    convolved(form, True)
    assert folded
    folded.clear()
    monkeypatch.setattr(twice, "PATCHES", 10)
    ours, torchs = convolved(form, True)
    assert_close(ours, torchs, rtol=1e-9, atol=1e-12)
    assert not folded


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=gpu)])
@pytest.mark.parametrize("sides", [(), (5,), (5, 4), (2, 3, 4)])
def test_normalisations_are_torchs(sides: tuple[int, ...], device: str) -> None:
    mean, var = drawn(6, device=device), drawn(6, device=device).square()
    parameters = [drawn(6, device=device) + 2, drawn(6, device=device)]
    x = drawn(7, 6, *sides, device=device)

    def layer(maps: Tensor, given: list[Tensor]) -> Tensor:
        return batch_norm(maps, mean, var, given[0], given[1], eps=0.1)

    ours, torchs = (second_slopes(layer, x, parameters, served, False) for served in (True, False))
    assert_close(ours, torchs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("used", [0, 1])
def test_of_one_parameter_alone(used: int) -> None:
    """A function of the weight's slope, or of the bias's, by images behind another layer."""
    found = []
    for served in (True, False):
        x = drawn(2, 3, 6, 6).requires_grad_()
        weights = [drawn(4, 3, 3, 3).requires_grad_(), drawn(5, 4, 3, 3).requires_grad_()]
        biases = [drawn(4).requires_grad_(), drawn(5).requires_grad_()]

        def loss(x: Tensor = x, w: list[Tensor] = weights, b: list[Tensor] = biases) -> Tensor:
            return conv2d(conv2d(x, w[0], b[0]).sigmoid(), w[1], b[1]).square().mean()

        if served:
            with ConstantParameters(x):
                value = loss()
        else:
            value = loss()
        (slope,) = torch.autograd.grad(value, [(weights, biases)[used][1]], create_graph=True)
        found.append(torch.autograd.grad(slope.square().sum(), x)[0])
    assert_close(found[0], found[1], rtol=1e-9, atol=1e-12)


def test_a_whole_network_as_torch_has_it() -> None:
    torch.manual_seed(0)
    net = resnet(3, 12, 4, (4, 8, 16)).double().eval()
    for _, buffer in net.named_buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 2)
    names = [name for name, _ in net.named_parameters()]

    def layer(maps: Tensor, given: list[Tensor]) -> Tensor:
        found: Tensor = torch.func.functional_call(net, dict(zip(names, given, strict=True)), maps)
        return found

    parameters = [value.detach() for value in net.parameters()]
    ours, torchs = (
        second_slopes(layer, drawn(2, 3, 12, 12), parameters, served, True)
        for served in (True, False)
    )
    assert_close(ours, torchs, rtol=1e-7, atol=1e-10)


def test_a_first_gradient_without_a_graph_is_of_all() -> None:
    x, weight, bias = drawn(2, 3, 6, 6), drawn(4, 3, 3, 3), drawn(4)
    mean, var = drawn(4), drawn(4).square()
    found = []
    for served in (True, False):
        leaves = [value.clone().requires_grad_() for value in (x, weight, bias, bias + 2, bias)]

        def loss(given: list[Tensor] = leaves) -> Tensor:
            maps = conv2d(*given[:3], padding=1)
            return batch_norm(maps, mean, var, given[3], given[4]).pow(3).mean()

        if served:
            with ConstantParameters(torch.zeros(1)) as layers:
                value = loss()
            assert layers.gained
        else:
            value = loss()
        found.append(torch.autograd.grad(value, leaves))
    assert_close(found[0], found[1], rtol=1e-9, atol=1e-12)


def test_a_second_gradient_by_parameters_or_a_third_is_an_error() -> None:
    x, weight = drawn(2, 3, 6, 6).requires_grad_(), drawn(4, 3, 3, 3).requires_grad_()

    def slope() -> Tensor:
        with ConstantParameters(x):
            value = conv2d(x, weight).pow(3).mean()
        return torch.autograd.grad(value, [weight], create_graph=True)[0].square().sum()

    with pytest.raises(RuntimeError, match="appears to not have been used"):
        torch.autograd.grad(slope(), weight)
    (second,) = torch.autograd.grad(slope(), x, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(second.square().sum(), x)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 4, 3, padding="same"),
        nn.BatchNorm2d(4).train(), nn.BatchNorm2d(4, affine=False).eval(),
        nn.BatchNorm2d(4, track_running_stats=False).eval(), nn.Linear(6, 2),
    ],
    ids=str,
)  # fmt: skip
def test_other_layers_are_torchs(layer: nn.Module) -> None:
    x = drawn(2, 4, 6, 6).requires_grad_()
    with ConstantParameters(x) as layers:
        assert_close(layer.double()(x), layer(x))
    assert not layers.gained


def test_parameters_that_depend_on_others_are_torchs() -> None:
    """As in a simulated step, whose weights are a function of the images too."""
    x, weight = drawn(2, 3, 6, 6).requires_grad_(), drawn(4, 3, 3, 3).requires_grad_()
    with ConstantParameters(x) as layers:
        conv2d(x, 2 * weight)
        conv2d(x.detach(), weight)
        conv2d(x[0], weight)
    assert not layers.gained


def test_small_layers_are_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twice, "LARGE", 2 * 4 * 36)
    x, weight = drawn(2, 3, 6, 6).requires_grad_(), drawn(4, 3, 3, 3).requires_grad_()
    with ConstantParameters(x) as layers:
        conv2d(x, weight)
        assert not layers.gained
        conv2d(torch.cat([x, x]), weight)
        assert layers.gained
