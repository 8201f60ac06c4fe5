"""Networks as functions: the same numbers as the module gives, and derivatives of derivatives."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.testing import assert_close

from fedsec.core.functional import (
    call,
    double_backward,
    flatten,
    gradient,
    has_batch_statistics,
    has_tied_weights,
    load_state,
    state_of,
    unflatten,
)


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2))


def test_a_call_is_the_module_and_leaves_it_alone(net: nn.Module) -> None:
    x, before = torch.randn(5, 3), state_of(net)
    state = before.clone()
    found = call(net, state, x)
    assert_close(state_of(net).buffers, before.buffers, rtol=0, atol=0)
    assert_close(found, net(x))
    assert_close(state.buffers, state_of(net).buffers)


def test_a_state_is_a_copy_and_can_be_loaded(net: nn.Module) -> None:
    state = state_of(net)
    with torch.no_grad():
        net[0].weight.zero_()
    assert state.parameters["0.weight"].abs().sum() > 0
    load_state(net, state)
    assert_close(net[0].weight.detach(), state.parameters["0.weight"], rtol=0, atol=0)


def test_flatten_and_unflatten_are_inverse(net: nn.Module) -> None:
    parameters = state_of(net).parameters
    back = unflatten(flatten(parameters), parameters)
    assert list(back) == [name for name, _ in net.named_parameters()]
    assert_close(back, parameters, rtol=0, atol=0)


def test_gradient_is_that_of_backward(net: nn.Module) -> None:
    x = torch.randn(5, 3)
    parameters = {name: value.requires_grad_() for name, value in state_of(net).parameters.items()}
    found = gradient(
        functional_call(net, (parameters, state_of(net).buffers), (x,)).square().mean(), parameters
    )
    net(x).square().mean().backward()
    for name, value in net.named_parameters():
        assert value.grad is not None
        assert_close(found[name], value.grad)


def test_attention_can_be_differentiated_twice() -> None:
    torch.manual_seed(0)
    q = torch.randn(1, 2, 4, 8, dtype=torch.float64, requires_grad=True)

    def slope(q: torch.Tensor) -> torch.Tensor:
        attended = nn.functional.scaled_dot_product_attention(q, q, q)
        (found,) = torch.autograd.grad(attended.square().sum(), q, create_graph=True)
        return found.square().sum()

    with double_backward():
        (found,) = torch.autograd.grad(slope(q), q)
        direction, small = torch.randn_like(q), 1e-6
        ahead, behind = slope(q + small * direction), slope(q - small * direction)
    assert_close((found * direction).sum(), (ahead - behind) / (2 * small), rtol=1e-6, atol=1e-6)


def test_batch_statistics_are_seen(net: nn.Module) -> None:
    assert has_batch_statistics(net)
    assert not has_batch_statistics(nn.Sequential(nn.Linear(3, 4), nn.GroupNorm(2, 4)))


def test_tied_weights_are_seen(net: nn.Module) -> None:
    assert not has_tied_weights(net)
    inner = nn.Linear(4, 4)
    assert has_tied_weights(nn.Sequential(inner, nn.Tanh(), inner))
    last = nn.Linear(4, 4)
    last.weight = inner.weight
    assert has_tied_weights(nn.Sequential(inner, last))
