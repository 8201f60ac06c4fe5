"""The memory is a queue's, lessons count what they teach, and what is kept apart is not taught."""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor, nn

from fedsec.core.functional import state_of
from fedsec.stealing.online import (
    Lessons,
    begin_online,
    codes,
    n_remembered,
    recall,
    remember,
    spent,
)
from fedsec.stealing.oracle import ModelOracle
from fedsec.stealing.parts import Parts, held_out
from fedsec.stealing.substitute import label_loss


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear(seed: int = 0) -> nn.Module:
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=seeded(seed)))
    return net


def start(lr: float = 0.1) -> Parts:
    net = linear()
    return begin_online(net, torch.optim.SGD(net.parameters(), lr=lr), 5, ("codes",))


def images(n: int, seed: int) -> Tensor:
    return torch.rand(n, 1, 2, 2, generator=seeded(seed))


def test_the_memory_holds_what_a_queue_of_that_length_holds() -> None:
    parts, queue = start(), deque(maxlen=50)
    for number, n in enumerate([3, 20, 1, 40, 7, 120, 50, 2]):
        x = images(n, number)
        remember(parts, x, torch.arange(n), 50)
        queue.extend(zip(x.flatten(1).tolist(), range(n), strict=True))
        known = n_remembered(parts, 50)
        assert known == len(queue)
        found_x, found_y = recall(parts, torch.arange(known))
        found = list(zip(found_x.flatten(1).tolist(), found_y.tolist(), strict=True))
        assert sorted(found) == sorted(queue)
        assert len(parts.tensors["memory_x"]) <= 50


def test_lessons_are_steps_on_what_was_not_kept_apart() -> None:
    parts = start()
    net = linear()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    oracle = ModelOracle(linear(1), state_of(linear(1)), (1, 2, 2), 3, budget=30)
    lessons = Lessons(parts, 3, label_loss, held_out=0.25, repeats=2)
    losses = []
    for seed, n_left in ((0, 20), (1, 10)):  # of the second batch of 20 only 10 are answered
        x = images(20, seed)
        asked, answers = lessons.ask(oracle, x)
        assert torch.equal(asked, x[:n_left])
        apart = n_left // 4
        for _ in range(2):
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(net(x[: n_left - apart]), answers[: n_left - apart])
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
    step = lessons.step(gap=1.5)
    for name, value in parts.substitute.named_parameters():
        assert torch.allclose(value, dict(net.named_parameters())[name], atol=1e-6)
    assert step.steps == 4 and step.histogram is not None
    assert step.histogram.tolist() == oracle.log.counts.tolist()
    assert abs(float(step.losses["substitute"]) - sum(losses) / 4) < 1e-6
    assert step.losses["gap"] == 1.5
    kept = held_out(parts)
    assert kept is not None and len(kept[0]) == 5 + 2
    assert spent(oracle) == 1.0


def test_without_a_budget_nothing_is_spent() -> None:
    oracle = ModelOracle(linear(), state_of(linear()), (1, 2, 2), 3)
    oracle(images(7, 0))
    assert spent(oracle) == 0.0


def test_codes_are_normal_and_those_of_the_seed() -> None:
    first, again = (codes(start(), 4000, 3) for _ in range(2))
    assert torch.equal(first, again)
    assert first.mean().abs() < 0.03 and (first.std() - 1).abs() < 0.03
