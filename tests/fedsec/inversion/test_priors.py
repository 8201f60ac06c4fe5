"""Image priors in closed form; under vmap and grad they are what a loop gives."""

import pytest
import torch
from torch import nn
from torch.func import grad, vmap

from fedsec.core.functional import state_of
from fedsec.errors import SettingsError
from fedsec.inversion.priors import (
    batch_norm_statistics,
    group_consistency,
    norm,
    total_variation,
)
from tests.fedsec.inversion.cases import DIGITS, generator, smooth_net


def normed_net() -> nn.Sequential:
    """Batch normalisation of feature maps and of features, with statistics of digits."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 8),
            nn.BatchNorm1d(8), nn.Linear(8, 10),
        ).double()  # fmt: skip
    net(DIGITS.train.x[:100].double())
    return net


def draw(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=generator(), dtype=torch.float64)


def statistics() -> object:
    net = normed_net()
    return batch_norm_statistics(0.7, net, state_of(net))


PRIORS = {
    "total-variation": lambda: total_variation(0.3),
    "norm": lambda: norm(0.2),
    "batch-norm-statistics": statistics,
}


@pytest.mark.parametrize("make", PRIORS.values(), ids=PRIORS)
def test_the_derivative_is_that_of_differences(make):
    assert torch.autograd.gradcheck(make(), draw(2, 1, 8, 8).requires_grad_())


@pytest.mark.parametrize("make", PRIORS.values(), ids=PRIORS)
def test_restarts_under_vmap_and_grad_are_those_of_a_loop(make):
    prior, x = make(), draw(3, 2, 1, 8, 8)
    torch.testing.assert_close(vmap(prior)(x), torch.stack([prior(one) for one in x]))
    loop = torch.stack([grad(prior)(one) for one in x])
    torch.testing.assert_close(vmap(grad(prior))(x), loop)
    leaf = x[0].clone().requires_grad_()
    torch.testing.assert_close(torch.autograd.grad(prior(leaf), leaf)[0], loop[0])


@pytest.mark.parametrize("make", [total_variation, norm])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_priors_keep_the_precision(make, dtype):
    assert make(0.5)(draw(2, 3, 4, 4).to(dtype)).dtype == dtype


def test_total_variation_of_a_ramp_is_its_slope():
    ramp = torch.arange(4.0).view(1, 1, 1, 4).expand(2, 3, 5, 4)  # dx = 1, dy = 0
    assert float(total_variation(2)(ramp)) == 2
    assert float(total_variation(2)(ramp.transpose(2, 3))) == 2
    assert float(total_variation(2)(ramp + ramp.new_tensor(range(5))[:, None])) == 4


@pytest.mark.parametrize(("shape", "value"), [((1, 1, 1, 3), 1.0), ((1, 1, 3, 1), 1.0),
                                              ((2, 1, 1, 1), 0.0)])  # fmt: skip
def test_total_variation_of_images_one_pixel_wide(shape, value):
    x = torch.arange(float(torch.Size(shape).numel())).view(shape)
    assert float(total_variation(1)(x)) == value


def test_the_norm_is_the_mean_square():
    assert float(norm(0.5)(torch.tensor([[[[1.0, 2.0]]], [[[3.0, 0.0]]]]))) == 0.5 * 14 / 4


def test_statistics_are_those_at_each_layer():
    net = normed_net().eval()
    x = draw(5, 1, 8, 8)
    maps = net[0](x)
    expected = (maps.mean((0, 2, 3)) - net[1].running_mean).norm()
    expected = expected + (maps.var((0, 2, 3), correction=0) - net[1].running_var).norm()
    features = net[:5](x)
    expected = expected + (features.mean(0) - net[5].running_mean).norm()
    expected = expected + (features.var(0, correction=0) - net[5].running_var).norm()
    found = batch_norm_statistics(0.1, net, state_of(net))(x)
    torch.testing.assert_close(found, 0.1 * expected.detach())


def test_statistics_are_of_the_state_that_is_given_and_leave_the_network_alone():
    net = normed_net()  # in training mode: a call of it would move its running statistics
    state, other = state_of(net), state_of(net)
    other.buffers["1.running_mean"] += 1
    x = draw(5, 1, 8, 8)
    assert batch_norm_statistics(1, net, other)(x) != batch_norm_statistics(1, net, state)(x)
    after = state_of(net)
    assert all(torch.equal(after.buffers[name], state.buffers[name]) for name in state.buffers)
    assert net.training and not net[1]._forward_pre_hooks


def test_statistics_vanish_at_the_batch_that_made_them():
    x = draw(6, 1, 8, 8)
    net = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 10)).double()
    state = state_of(net)
    state.buffers["0.running_mean"] = x.mean().view(1)
    state.buffers["0.running_var"] = x.var(correction=0).view(1)
    leaf = x.requires_grad_()
    found = batch_norm_statistics(1, net, state)(leaf)
    assert found < 1e-12
    assert torch.autograd.grad(found, leaf)[0].isfinite().all()


def test_one_image_of_one_pixel_has_statistics():
    net = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(1, 2)).double()
    assert batch_norm_statistics(1, net, state_of(net))(draw(1, 1, 1, 1)).isfinite()


def test_a_network_without_running_statistics_is_refused():
    untracked = nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False), nn.Flatten())
    for net in (smooth_net(), untracked):
        with pytest.raises(SettingsError, match="keeps none"):
            batch_norm_statistics(1, net, state_of(net))


def test_group_consistency_is_the_spread_about_the_mean_of_restarts():
    x = draw(4, 2, 3, 5, 5)
    found = group_consistency(0.5)(x)
    assert found.shape == (4,)
    torch.testing.assert_close(found.mean(), 0.5 * x.var(dim=0, correction=0).mean())
    torch.testing.assert_close(group_consistency(1)(x[:1]), torch.zeros(1, dtype=x.dtype))
    leaf = x.requires_grad_()
    (slope,) = torch.autograd.grad(group_consistency(1)(leaf).sum(), leaf)
    torch.testing.assert_close(slope, 2 * (x - x.mean(0)).detach() / x[0].numel())
