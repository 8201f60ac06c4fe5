"""DaST: branches of their own, losses in closed form, and a label control that weakens."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from fedsec.core.functional import state_of
from fedsec.data.images import ImageData
from fedsec.nets import make_net
from fedsec.stealing import dast
from fedsec.stealing.dast import Branches, Dast, imitation
from fedsec.stealing.generators import make_generator
from fedsec.stealing.oracle import ModelOracle

SHAPE = (1, 8, 8)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def branches() -> Branches:
    return Branches(make_generator(SHAPE, 6, 0), 3, seeded(1))


def test_an_image_depends_on_its_own_branch_alone() -> None:
    net = branches().eval()
    z = torch.randn(4, 6, generator=seeded(2))
    branch = torch.tensor([0, 2, 1, 2])
    x = net(z, branch)
    slopes = [torch.autograd.grad(x[i].sum(), net.weight, retain_graph=True)[0] for i in range(4)]
    for slope, own in zip(slopes, branch.tolist(), strict=True):
        assert [bool(slope[other].abs().sum() > 0) for other in range(3)] == [
            other == own for other in range(3)
        ]
    alone = nn.functional.leaky_relu(z @ net.weight[2] + net.bias[2], 0.2)
    assert torch.allclose(net.shared(alone)[[1, 3]], x[[1, 3]], atol=1e-6)
    assert x.min() >= 0 and x.max() <= 1


def test_the_start_is_that_of_the_seed() -> None:
    first, again = branches(), branches()
    assert torch.equal(first.weight, again.weight) and first.weight.abs().max() <= 6**-0.5


@pytest.mark.parametrize("beta", [0.0, 0.1, 20.0])
def test_imitation_is_cross_entropy_and_squared_distance(beta: float) -> None:
    logits = torch.randn(9, 4, generator=seeded(3))
    law = torch.randn(9, 4, generator=seeded(4)).softmax(dim=1)
    squared = (logits.softmax(dim=1) - law).square().sum() / (9 * 4)
    expected = cross_entropy(logits, law.argmax(dim=1)) + beta * squared
    assert torch.allclose(imitation(beta)(logits, law), expected)


def test_the_generator_takes_the_step_of_the_paper(digits: ImageData) -> None:
    """Its first step is by Adam, so of the rate along the sign of the slope of the loss."""
    victim = make_net("linear", digits, 0).eval()
    method = Dast(batch=30, latent=8, lr=1e-3)
    oracle = ModelOracle(victim, state_of(victim), SHAPE, 10)
    parts = method.begin(oracle, make_net("cnn", digits, 1), 2)
    again = method.begin(oracle, make_net("cnn", digits, 1), 2)
    method.step(oracle, parts)
    generator = again.nets["generator"]
    z = torch.randn(30, 8, generator=again.generators["codes"])
    branch = torch.arange(30) % 10
    x = generator(z, branch)
    logits, answers = parts.substitute(x), victim(x).argmax(dim=1)  # the copy after its own step
    loss = torch.exp(-cross_entropy(logits, answers)) + 0.2 * cross_entropy(logits, branch)
    slopes = torch.autograd.grad(loss, list(generator.parameters()))
    compared = 0
    for (name, before), slope in zip(generator.named_parameters(), slopes, strict=True):
        moved = dict(parts.nets["generator"].named_parameters())[name] - before
        clear = slope.abs() > 1e-5  # Adam's 1e-8 does not matter there
        compared += int(clear.sum())
        assert torch.allclose(moved[clear], -1e-3 * slope[clear].sign(), atol=2e-5)
    assert compared > 1000


def test_the_control_weakens_once_it_is_obeyed(
    digits: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = make_net("linear", digits, 0).eval()
    oracle = ModelOracle(victim, state_of(victim), SHAPE, 10)
    method = Dast(batch=30, latent=8)
    parts = method.begin(oracle, make_net("cnn", digits, 1), 2)
    step = method.step(oracle, parts)
    assert float(step.losses["control"]) > 0.1 and parts.numbers["alpha"] == 0.2
    monkeypatch.setattr(dast, "CONTROLLED", 100.0)
    step = method.step(oracle, parts)
    assert parts.numbers["alpha"] == float(step.losses["control"])
    assert oracle.queries == 2 * method.queries_per_iteration == 60
