"""One private gradient: what DP-SGD does in a step, and of one sample, clipping with noise."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from fedsec.core.functional import call, flatten, gradient, state_of
from fedsec.core.rng import torch_stream
from fedsec.errors import DataError, SettingsError
from fedsec.federated.privacy.accounting import rdp
from fedsec.federated.privacy.noise import GaussianNoise
from fedsec.federated.privacy.per_sample import PrivateSGD, train_private
from fedsec.federated.privacy.private_gradient import (
    per_sample_gradients,
    private_gradient,
    sum_of_clipped,
)

N = 6


@pytest.fixture
def net() -> nn.Module:
    """A small network in double precision."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
        ).double()  # fmt: skip


@pytest.fixture
def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch_stream(0, "data")
    x = torch.rand(N, 1, 6, 6, generator=generator, dtype=torch.float64)
    return x, torch.randint(3, (N,), generator=generator)


def sent(net, data, settings, seed=0):
    return private_gradient(
        net, state_of(net), *data, torch_stream(seed, "dp"), settings=settings, round=2, client=5
    )


def test_rows_are_the_gradients_of_single_samples(net, data):
    found = per_sample_gradients(net, state_of(net), *data)
    for row, (x, y) in enumerate(zip(data[0].split(1), data[1].split(1), strict=True)):
        state = state_of(net)
        leaves = {name: value.requires_grad_() for name, value in state.parameters.items()}
        one = gradient(functional.cross_entropy(call(net, state, x), y), leaves)
        torch.testing.assert_close({k: v[row] for k, v in found.items()}, one)


def test_nothing_clipped_or_added_it_is_the_mean_gradient(net, data):
    found = sent(net, data, PrivateSGD(norm=1e9, noise_multiplier=0.0))
    state = state_of(net)
    leaves = {name: value.requires_grad_() for name, value in state.parameters.items()}
    mean = gradient(functional.cross_entropy(call(net, state, data[0]), data[1]), leaves)
    torch.testing.assert_close(found.tensors, mean)
    assert (found.kind, found.round, found.client, found.n) == ("gradient", 2, 5, N)
    assert list(found.tensors) == [name for name, _ in net.named_parameters()]


@pytest.mark.parametrize("norm", [0.05, 0.5, 2.0])
def test_a_step_of_dp_sgd_is_minus_the_rate_times_it(net, data, norm):
    settings = PrivateSGD(lr=0.5, steps=1, sample_rate=1.0, norm=norm, noise_multiplier=0.0)
    delta, _ = train_private(
        net, state_of(net), *data, torch_stream(0, "dp"),
        settings=settings, round=2, client=5, accountant=rdp,
    )  # fmt: skip
    found = sent(net, data, settings)
    expected = -0.5 * flatten(found.tensors)
    torch.testing.assert_close(flatten(delta.tensors), expected, rtol=1e-4, atol=1e-9)


def test_of_one_sample_it_is_clipping_with_noise(net, data):
    one = data[0][:1], data[1][:1]
    bare = sent(net, one, PrivateSGD(norm=1e9, noise_multiplier=0.0))
    found = sent(net, one, PrivateSGD(norm=0.3, noise_multiplier=0.7))
    expected = GaussianNoise(multiplier=0.7, norm=0.3)(bare, torch_stream(0, "dp"))
    torch.testing.assert_close(found.tensors, expected.tensors)


def test_noise_is_divided_by_the_samples(net, data):
    settings = PrivateSGD(norm=2.0, noise_multiplier=3.0)
    quiet = sent(net, data, PrivateSGD(norm=2.0, noise_multiplier=0.0))
    many = [flatten(sent(net, data, settings, seed).tensors) for seed in range(40)]
    added = torch.stack(many) - flatten(quiet.tensors)
    assert float(added.std()) == pytest.approx(3.0 * 2.0 / N, rel=0.03)


def test_clipping_bounds_each_sample_and_leaves_short_ones():
    per_sample = {"a": torch.tensor([[3.0, 0.0], [0.3, 0.0]]), "b": torch.tensor([4.0, 0.4])}
    found = sum_of_clipped(per_sample, 1.0)
    torch.testing.assert_close(found["a"], torch.tensor([0.6 + 0.3, 0.0]))
    torch.testing.assert_close(found["b"], torch.tensor(0.8 + 0.4))
    zero = sum_of_clipped({"a": torch.zeros(2, 3)}, 1.0)
    assert torch.equal(zero["a"], torch.zeros(3))


def test_no_samples_and_unfit_layers_are_refused(net, data):
    with pytest.raises(DataError, match="client 5 has no samples"):
        sent(net, (data[0][:0], data[1][:0]), PrivateSGD())
    mixed = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(36, 3)).double()
    with pytest.raises(SettingsError, match="mixes the samples"):
        sent(mixed, data, PrivateSGD())
