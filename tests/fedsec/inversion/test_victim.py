"""Victims: the loss is torch's, and batch normalisation is as it was asked for."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from fedsec.core.functional import state_of
from fedsec.errors import SettingsError
from fedsec.inversion.victim import classifier
from tests.fedsec.inversion.cases import digits, smooth_net

FOUR = digits(range(4))


def normalised() -> nn.Module:
    """With batch normalisation that has seen other images."""
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)
    ).double()
    with torch.no_grad():
        net(digits(range(20, 40)).x)
    return net


def test_the_loss_is_cross_entropy_of_labels_or_probabilities() -> None:
    net = smooth_net()
    victim = classifier(net)
    expected = cross_entropy(net(FOUR.x), FOUR.y)
    torch.testing.assert_close(victim.loss(victim.parameters, FOUR.x, FOUR.y), expected)
    soft = one_hot(FOUR.y, 10).double()
    torch.testing.assert_close(victim.loss(victim.parameters, FOUR.x, soft), expected)


def test_the_network_is_left_alone() -> None:
    net = normalised().train()
    before = state_of(net)
    victim = classifier(net, batch_statistics=True)
    victim.loss(victim.parameters, FOUR.x, FOUR.y)
    after = state_of(net)
    assert net.training
    assert all(parameter.requires_grad for parameter in net.parameters())
    for name, value in {**before.parameters, **before.buffers}.items():
        assert torch.equal({**after.parameters, **after.buffers}[name], value)


@pytest.mark.parametrize("batch_statistics", [False, True])
def test_batch_normalisation_is_by_the_statistics_asked_for(batch_statistics: bool) -> None:
    net = normalised().train(batch_statistics)
    victim = classifier(net, batch_statistics=batch_statistics)
    found = victim.loss(victim.parameters, FOUR.x, FOUR.y)
    torch.testing.assert_close(found, cross_entropy(net(FOUR.x), FOUR.y))
    assert bool(victim.buffers) != batch_statistics


def test_a_network_without_running_statistics_needs_those_of_the_batch() -> None:
    net = nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False), nn.Flatten())
    with pytest.raises(SettingsError, match="layer '0' .BatchNorm2d. keeps no running statistics"):
        classifier(net)


def test_parameters_can_be_exchanged() -> None:
    victim, other = classifier(smooth_net(0)), classifier(smooth_net(1))
    changed = victim.with_parameters(other.parameters)
    assert changed.parameters is other.parameters
    torch.testing.assert_close(
        changed.loss(changed.parameters, FOUR.x, FOUR.y),
        other.loss(other.parameters, FOUR.x, FOUR.y),
    )
