"""DP-SGD is SGD where nothing is clipped or added, and its clipping and noise are as written."""

from math import inf

import pytest
import torch
from torch import nn
from torch.nn import functional

from fedsec.core.functional import call, flatten, gradient, state_of
from fedsec.core.rng import torch_stream
from fedsec.errors import DataError, SettingsError
from fedsec.federated.privacy.accounting import epsilon, prv, rdp
from fedsec.federated.privacy.per_sample import PrivateSGD, poisson_batch, train_private

N = 24  # samples


@pytest.fixture
def net() -> nn.Module:
    """A small network of the layers that ours are made of, in double precision."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
        ).double()  # fmt: skip


@pytest.fixture
def data() -> tuple[torch.Tensor, torch.Tensor]:
    """Images (24, 1, 6, 6) and their labels."""
    generator = torch_stream(0, "data")
    x = torch.rand(N, 1, 6, 6, generator=generator, dtype=torch.float64)
    return x, torch.randint(3, (N,), generator=generator)


def train(net, data, settings, seed=0, accountant=rdp, **more):
    """The flat delta of client 5 in round 2, and epsilon (by default of the quick accountant)."""
    update, spent = train_private(
        net, state_of(net), *data, torch_stream(seed, "dp", 2, 5),
        settings=settings, round=2, client=5, accountant=accountant, **more,
    )  # fmt: skip
    return flatten(update.tensors), spent


def test_without_noise_or_clipping_it_is_sgd_on_the_same_batches(net, data):
    settings = PrivateSGD(lr=0.2, steps=8, sample_rate=0.3, norm=1e9, noise_multiplier=0.0)
    found, spent = train(net, data, settings)
    generator = torch_stream(0, "dp", 2, 5)
    start = state = state_of(net)
    for _ in range(8):
        batch = poisson_batch(N, 0.3, generator)
        leaves = {k: v.requires_grad_() for k, v in state.clone().parameters.items()}
        logits = call(net, state.with_parameters(leaves), data[0][batch])
        loss = functional.cross_entropy(logits, data[1][batch], reduction="sum") / (0.3 * N)
        steps = gradient(loss, leaves)
        state = state.with_parameters({k: (v - 0.2 * steps[k]).detach() for k, v in leaves.items()})
    expected = flatten(state.parameters) - flatten(start.parameters)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert spent == inf


@pytest.mark.parametrize("norm", [0.05, 0.5, 2.0])
def test_a_step_is_the_sum_of_clipped_gradients_of_single_samples(net, data, norm):
    settings = PrivateSGD(lr=1.0, steps=1, sample_rate=1.0, norm=norm, noise_multiplier=0.0)
    found, _ = train(net, data, settings)
    state, total = state_of(net), torch.zeros_like(found)
    leaves = {name: value.requires_grad_() for name, value in state.parameters.items()}
    for x, y in zip(data[0].split(1), data[1].split(1), strict=True):
        one = flatten(gradient(functional.cross_entropy(call(net, state, x), y), leaves))
        total += one * min(1.0, norm / float(one.norm()))
    torch.testing.assert_close(-N * found, total, rtol=1e-4, atol=1e-9)  # Opacus adds 1e-6 to norms
    assert float((N * found).norm()) <= N * norm


def test_one_sample_moves_the_sum_by_at_most_the_norm(net, data):
    """The sensitivity that the noise is scaled by, for a sample far from all others."""
    x, y = data
    settings = PrivateSGD(lr=1.0, steps=1, sample_rate=1.0, norm=0.1, noise_multiplier=0.0)
    odd = torch.cat([x, 1e4 * x[:1]]), torch.cat([y, (y[:1] + 1) % 3])
    with_it, without = (N + 1) * train(net, odd, settings)[0], N * train(net, data, settings)[0]
    assert 0.05 < float((with_it - without).norm()) <= 0.1


def no_loss(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return 0 * outputs.sum(dim=1)


@pytest.mark.parametrize("sample_rate", [0.5, 0.01])  # at 0.01 most batches are empty
def test_noise_has_the_deviation_of_the_settings(data, sample_rate):
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 300)).double()
    settings = PrivateSGD(
        lr=0.5, steps=4, sample_rate=sample_rate, norm=2.0, noise_multiplier=3.0, delta=1e-3
    )
    found, _ = train(net, data, settings, loss=no_loss)
    deviation = 0.5 * 3.0 * 2.0 * 4**0.5 / (sample_rate * N)
    assert float(found.std()) == pytest.approx(deviation, rel=0.03)
    assert abs(float(found.mean())) < 4 * deviation / len(found) ** 0.5


def test_epsilon_is_the_accountants(net, data):
    settings = PrivateSGD(steps=3, sample_rate=0.2, noise_multiplier=1.5, delta=1e-4)
    assert train(net, data, settings, accountant=prv)[1] == epsilon(1.5, 0.2, 3, 1e-4)
    assert train(net, data, settings, accountant=rdp)[1] == epsilon(1.5, 0.2, 3, 1e-4, rdp)


def test_the_same_stream_gives_the_same_bits(net, data):
    settings = PrivateSGD(steps=3, sample_rate=0.2)
    first, second, other = (train(net, data, settings, seed)[0] for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_global_randomness_network_state_and_data_are_left_alone(net, data):
    state, before, drawn = state_of(net), state_of(net), torch.get_rng_state()
    x = data[0].clone()
    train_private(
        net.eval(), state, *data, torch_stream(0, "dp"),
        settings=PrivateSGD(steps=2), round=1, client=0, accountant=rdp,
    )  # fmt: skip
    for now in (state, state_of(net)):
        assert torch.equal(flatten(now.parameters), flatten(before.parameters))
    assert torch.equal(torch.get_rng_state(), drawn) and torch.equal(data[0], x)
    assert not net.training and not data[0].requires_grad
    assert not any(hasattr(parameter, "grad_sample") for parameter in net.parameters())


def test_the_update_says_whose_it_is_and_frozen_parameters_stay(net, data):
    net[0].weight.requires_grad_(False)
    update, _ = train_private(
        net, state_of(net), *data, torch_stream(0, "dp"),
        settings=PrivateSGD(steps=2, sample_rate=0.5), round=2, client=5, accountant=rdp,
    )  # fmt: skip
    assert (update.kind, update.round, update.client, update.n) == ("delta", 2, 5, N)
    assert list(update.tensors) == [name for name, _ in net.named_parameters()]
    assert not update.tensors["0.weight"].any() and update.tensors["0.bias"].any()


def test_batches_are_binomial():
    generator = torch_stream(0, "batches")
    batches = [poisson_batch(50, 0.3, generator) for _ in range(2000)]
    sizes = torch.tensor([len(batch) for batch in batches], dtype=torch.float64)
    assert float(sizes.mean()) == pytest.approx(15, abs=4 * (10.5 / 2000) ** 0.5)
    assert float(sizes.var()) == pytest.approx(10.5, rel=0.15)
    often = torch.cat(batches).bincount(minlength=50) / 2000
    assert ((often - 0.3).abs() < 4.5 * (0.21 / 2000) ** 0.5).all()


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.BatchNorm2d(1), r"'0' is BatchNorm2d, which mixes.*GroupNorm\(groups, 1\)"),
        (nn.BatchNorm2d(1, affine=False), "'0' is BatchNorm2d"),
        (nn.InstanceNorm2d(1, track_running_stats=True), "'0' is InstanceNorm2d.*GroupNorm"),
        (nn.Dropout(0.5), "'0' is Dropout.*set its p to 0"),
    ],
)
def test_a_layer_that_mixes_samples_or_draws_is_refused_by_name(layer, message, data):
    net = nn.Sequential(layer, nn.Flatten(), nn.Linear(36, 3)).double()
    with pytest.raises(SettingsError, match=message):
        train(net, data, PrivateSGD(steps=1))


def test_a_trainable_layer_with_buffers_is_refused(data):
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 3)).double()
    net[1].register_buffer("seen", torch.zeros(3))
    with pytest.raises(SettingsError, match="layer with buffers.*Linear"):
        train(net, data, PrivateSGD(steps=1))


def test_a_layer_that_opacus_cannot_split_is_refused(data):
    net = nn.Sequential(nn.Flatten(), nn.LSTM(36, 3)).double()
    with pytest.raises(SettingsError, match="LSTM.*ModuleValidator.fix"):
        train(net, data, PrivateSGD(steps=1))


def test_a_loss_that_is_a_mean_is_refused(net, data):
    with pytest.raises(SettingsError, match="reduction='none'"):
        train(net, data, PrivateSGD(steps=1, sample_rate=1.0), loss=functional.cross_entropy)


def test_a_client_without_samples_is_refused(net, data):
    with pytest.raises(DataError, match="client 5 has no samples"):
        train(net, (data[0][:0], data[1][:0]), PrivateSGD(steps=1))


@pytest.mark.parametrize("bad", [{"lr": 0.0}, {"norm": -1.0}, {"steps": 0}])
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(SettingsError):
        PrivateSGD(**bad)
