"""Gaps in closed form, and generator's steps against the gradient of a victim that we do know."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy, kl_div, l1_loss

from fedsec.core.functional import flatten, state_of
from fedsec.stealing.disagreement import (
    Gap,
    by_differences,
    divergence_gap,
    label_gap,
    logit_gap,
    through_copy,
)
from fedsec.stealing.generators import make_generator
from fedsec.stealing.online import begin_online, codes
from fedsec.stealing.oracle import Mode, ModelOracle
from fedsec.stealing.parts import Parts

SHAPE = (1, 8, 8)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def classifier(seed: int) -> nn.Module:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.Tanh(), nn.Linear(12, 4))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=seeded(seed)))
    return net


def begin() -> Parts:
    substitute = classifier(1)
    parts = begin_online(
        substitute, torch.optim.SGD(substitute.parameters(), lr=0.1), 0, ("codes", "directions")
    )
    parts.nets["generator"] = make_generator(SHAPE, 16, 3)
    parts.optimisers["generator"] = torch.optim.SGD(parts.nets["generator"].parameters(), lr=1.0)
    return parts


def oracle_of(mode: Mode, budget: int | None = None) -> ModelOracle:
    return ModelOracle(classifier(2), state_of(classifier(2)), SHAPE, 4, mode=mode, budget=budget)


def moved(parts: Parts, before: Tensor) -> Tensor:
    """How far a step of rate 1 went: the gradient, with its sign turned."""
    return flatten(state_of(parts.nets["generator"]).parameters) - before


def test_gaps_in_closed_form() -> None:
    logits = torch.randn(20, 4, generator=seeded(4), dtype=torch.float64)
    law = torch.randn(20, 4, generator=seeded(5), dtype=torch.float64).softmax(dim=1)
    labels = law.argmax(dim=1)
    assert torch.allclose(label_gap(logits, labels).mean(), cross_entropy(logits, labels))
    expected = kl_div(logits.log_softmax(dim=1), law, reduction="batchmean")
    assert torch.allclose(divergence_gap(logits, law).mean(), expected)
    assert divergence_gap(law.log() + 3, law).abs().max() < 1e-12
    centred = law.log() - law.log().mean(dim=1, keepdim=True)
    assert torch.allclose(logit_gap(logits, law).mean() / 4, l1_loss(logits, centred))
    assert logit_gap(centred, law).abs().max() < 1e-12


@pytest.mark.parametrize(("gap", "scale"), [(divergence_gap, 1), (logit_gap, 4)])
def test_by_differences_the_generator_follows_copy_and_victim(gap: Gap, scale: int) -> None:
    """With many directions the step is near that of the true gradient, which passes through the
    victim too; that of the copy alone is not."""
    parts, again = begin(), begin()
    before = flatten(state_of(parts.nets["generator"]).parameters)
    oracle = oracle_of("probabilities")
    sought = by_differences(oracle, parts, gap, 12, 1000, scale)
    assert sought is not None and oracle.queries == 12 * 1001
    x = again.nets["generator"](codes(again, 12, 16))
    victim = classifier(2)(x).softmax(dim=1)
    value = gap(again.substitute(x), victim).mean()
    assert torch.allclose(sought.x, x.detach(), atol=1e-6)
    assert torch.allclose(sought.answers, victim.detach(), atol=1e-6)
    assert torch.allclose(sought.gap, value.detach(), atol=1e-5)
    parameters = list(again.nets["generator"].parameters())
    exact = flatten(
        {str(i): s for i, s in enumerate(torch.autograd.grad(value / scale, parameters))}
    )
    found = moved(parts, before)
    assert cosine_similarity(found, exact, dim=0) > 0.9
    assert 0.8 < found.norm() / exact.norm() < 1.3


@pytest.mark.parametrize("mode", ["labels", "probabilities"])
def test_through_the_copy_it_is_the_gradient_for_fixed_answers(mode: Mode) -> None:
    parts, again = begin(), begin()
    gap = label_gap if mode == "labels" else divergence_gap
    before = flatten(state_of(parts.nets["generator"]).parameters)
    copy = state_of(parts.substitute)
    oracle = oracle_of(mode)
    sought = through_copy(oracle, parts, gap, 12, 7, 3)
    assert sought is not None and oracle.queries == 12
    x = again.nets["generator"](codes(again, 12, 16))
    answers = oracle_of(mode)(x)
    value = gap(again.substitute(x), answers).mean() / 3
    slopes = torch.autograd.grad(value, list(again.nets["generator"].parameters()))
    exact = flatten({str(i): slope for i, slope in enumerate(slopes)})
    assert torch.allclose(moved(parts, before), exact, atol=1e-5)
    assert torch.allclose(sought.gap, value.detach() * 3, atol=1e-6)
    after = state_of(parts.substitute)
    assert all(torch.equal(value, after.parameters[key]) for key, value in copy.parameters.items())
    assert all(parameter.grad is None for parameter in parts.substitute.parameters())


@pytest.mark.parametrize(
    ("seek", "each", "budget", "asked"),
    [
        (by_differences, 4, 25, 24), (by_differences, 4, 8, 8), (by_differences, 4, 7, 0),
        (through_copy, 1, 5, 5), (through_copy, 1, 1, 0),
    ],
)  # fmt: skip
def test_at_the_end_of_the_budget_fewer_images_are_sought(
    seek: type[by_differences], each: int, budget: int, asked: int
) -> None:
    oracle = oracle_of("labels", budget)
    sought = seek(oracle, begin(), label_gap, 12, 3)
    assert oracle.queries == asked
    assert (None if sought is None else len(sought.x)) == (asked // each or None)
