"""Networks as functions: the same numbers as the module gives, and derivatives of derivatives."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.testing import assert_close

from fedsec.core.functional import (
    as_function,
    call,
    double_backward,
    flatten,
    gradient,
    has_batch_statistics,
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


def test_a_network_as_a_function_is_the_functional_call(net: nn.Module) -> None:
    state = state_of(net)
    moved = {name: value + 1 for name, value in state.parameters.items()}
    x = torch.randn(5, 3)
    own = dict(net.named_parameters())
    before = state_of(net)
    assert_close(
        as_function(net.eval())(moved, state.buffers, x),
        functional_call(net, (moved, state.buffers), (x,)),
        rtol=0, atol=0,
    )  # fmt: skip
    for name, value in net.named_parameters():
        assert value is own[name]
        assert_close(value.detach(), before.parameters[name], rtol=0, atol=0)


def test_running_statistics_are_written_where_they_were_given(net: nn.Module) -> None:
    state, expected = state_of(net), state_of(net)
    x = torch.randn(5, 3)
    as_function(net.train())(state.parameters, state.buffers, x)
    functional_call(net, (expected.parameters, expected.buffers), (x,))
    assert state.buffers.keys() == expected.buffers.keys() and state.buffers
    for name, value in expected.buffers.items():
        assert_close(state.buffers[name], value, rtol=0, atol=0)


def test_both_names_of_a_tensor_are_given() -> None:
    inner, last = nn.Linear(4, 4), nn.Linear(4, 4)
    last.weight = inner.weight
    net = nn.Sequential(inner, nn.Tanh(), inner, last)
    moved = {name: value.detach() + 1 for name, value in net.named_parameters()}
    x = torch.rand(3, 4)
    assert_close(as_function(net)(moved, {}, x), functional_call(net, moved, (x,)))


def test_a_call_that_fails_leaves_the_network_as_it_was(net: nn.Module) -> None:
    state = state_of(net)
    own = dict(net.named_parameters())
    with pytest.raises(RuntimeError):
        as_function(net)(state.parameters, state.buffers, torch.rand(5, 7))
    assert all(value is own[name] for name, value in net.named_parameters())
