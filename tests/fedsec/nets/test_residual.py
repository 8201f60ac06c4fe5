"""The residual network: what goes past a block, its sizes, and its layers."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import relu

from fedsec.nets.residual import Block, resnet


def kinds(net: nn.Module, kind: type[nn.Module]) -> list[nn.Module]:
    return [module for module in net.modules() if isinstance(module, kind)]


def test_a_block_whose_path_is_silent_lets_the_image_past() -> None:
    block = Block(4, 4, stride=1).eval()
    nn.init.zeros_(block.path[-1].weight)  # type: ignore[arg-type]
    x = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(block(x), relu(x))


def test_a_block_adds_its_path_to_what_goes_past() -> None:
    block = Block(4, 6, stride=2).eval()
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(block(x), relu(block.path(x) + block.past(x)))
    assert block(x).shape == (2, 6, 4, 4)


def test_eight_layers_and_a_normalisation_after_each_convolution() -> None:
    net = resnet(3, 32, 10)
    convolutions = kinds(net, nn.Conv2d)
    past = [one for one in convolutions if one.kernel_size == (1, 1)]
    assert len(convolutions) - len(past) + len(kinds(net, nn.Linear)) == 8
    assert len(kinds(net, nn.BatchNorm2d)) == len(convolutions)
    assert all(one.bias is None for one in convolutions)


def test_the_size_is_halved_twice_and_then_averaged_away() -> None:
    for size, left in ((28, 7), (8, 2), (3, 1)):
        net = resnet(1, size, 10).eval()
        x = torch.zeros(1, 1, size, size)
        assert net[:-3](x).shape == (1, 64, left, left)  # type: ignore[index]
        assert net(x).shape == (1, 10)
