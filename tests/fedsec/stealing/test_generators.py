"""Generators have the published shapes, and draw from their seed alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fedsec.core.functional import state_of
from fedsec.errors import SettingsError
from fedsec.stealing.generators import ACTIVATIONS, initialised, make_generator, unit_tanh
from tests.fedsec.stealing.toys import generator, same_state

SHAPES = {
    (1, 8, 8): (16, 8, 8),
    (1, 28, 28): (10, 33, 33),
    (3, 32, 32): (64, 32, 32),
    (3, 16, 16): (64, 16, 16),
}


@pytest.mark.parametrize("shape, features", SHAPES.items())
def test_the_halves_make_the_whole(shape, features):
    net = make_generator(shape, 128, seed=1)
    z = torch.randn(5, 128, generator=generator())
    between = net.explore(z)
    assert between.shape == (5, *features)
    v = net.exploit(between)
    torch.testing.assert_close(net(z, False), v)
    torch.testing.assert_close(net(z), unit_tanh(v))
    assert net(z).shape == (5, *shape)
    torch.testing.assert_close(unit_tanh(v), (1 + torch.tanh(v)) / 2)


def test_parameters_are_as_many_as_in_the_published_networks():
    count = {
        (1, 28, 28): (128 + 1) * 80 + 5 * 10 * 25 + 10 + 20 + 10 * 10 * 25 + 10 + 20 + 361 + 2,
        (3, 32, 32): (128 + 1) * 8192 + 256 + (128 * 9 + 1) * 128 + 256 + (128 * 9 + 1) * 64 + 128
        + (64 * 9 + 1) * 3,
    }  # fmt: skip
    for shape, expected in count.items():
        net = make_generator(shape, 128, seed=0)
        assert sum(parameter.numel() for parameter in net.parameters()) == expected


def test_a_seed_is_a_generator_and_the_global_one_is_left_alone():
    before = torch.get_rng_state()
    first, again, other = (make_generator((1, 8, 8), 32, seed) for seed in (4, 4, 5))
    assert torch.equal(torch.get_rng_state(), before)
    assert same_state(state_of(first), state_of(again))
    assert not torch.equal(first.explore[0].weight, other.explore[0].weight)


@pytest.mark.parametrize("make", [lambda: nn.Linear(300, 40), lambda: nn.Conv2d(30, 40, 3)])
def test_parameters_have_the_laws_of_pytorch(make):
    net = initialised(make, generator(2))
    fan_in = net.weight[0].numel()
    bound = fan_in**-0.5  # of U(-bound, bound)
    for value in (net.weight, net.bias):
        assert float(value.detach().abs().max()) <= bound
    assert float(net.weight.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.03)


def test_no_weight_of_a_convolution_is_negative_where_positive_is_asked():
    net = make_generator((1, 28, 28), 128, seed=1, positive=True)
    usual = make_generator((1, 28, 28), 128, seed=1)
    for found, plain in zip(net.modules(), usual.modules(), strict=True):
        if isinstance(found, nn.Conv2d | nn.ConvTranspose2d):
            torch.testing.assert_close(found.weight, plain.weight.clamp_min(0))
    assert torch.equal(net.explore[0].weight, usual.explore[0].weight)


def test_only_relu_leaves_the_range_of_images():
    v = torch.linspace(-30, 30, 101)
    for name, activation in ACTIVATIONS.items():
        image = activation(v)
        assert float(image.min()) >= 0
        assert (float(image.max()) <= 1) == (name != "relu")


@pytest.mark.parametrize("shape", [(1, 8, 12), (1, 30, 30), (1, 4, 4)])
def test_shapes_that_no_generator_fits_are_refused(shape):
    with pytest.raises(SettingsError, match=f"{shape[1]} x {shape[2]}.*multiple of 4"):
        make_generator(shape, 128, seed=0)
