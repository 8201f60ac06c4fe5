"""MAZE: queries by the formula, steps by its schedule, answers that are kept and replayed."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from fedsec.core.functional import state_of
from fedsec.data.images import ImageData
from fedsec.nets import make_net
from fedsec.stealing.attack import Watch
from fedsec.stealing.disagreement import through_copy
from fedsec.stealing.maze import Maze
from fedsec.stealing.oracle import Mode, ModelOracle, QueryLog, digests

SHAPE = (1, 8, 8)


def once() -> Watch:
    left = [1]

    def stop() -> bool:
        left[0] -= 1
        return left[0] < 0

    return Watch(stop=stop)


@pytest.fixture(scope="module")
def victim(digits: ImageData) -> nn.Module:
    return make_net("linear", digits, 0).eval()


@pytest.mark.parametrize("mode", ["labels", "probabilities"])
@pytest.mark.parametrize(
    ("method", "queries"), [(Maze(), 1920), (Maze(seek=through_copy), 640), (Maze(batch=8), 120)]
)
def test_an_iteration_asks_what_the_formula_says(
    method: Maze, queries: int, mode: Mode, victim: nn.Module, digits: ImageData
) -> None:
    oracle = ModelOracle(victim, state_of(victim), SHAPE, 10, mode=mode)
    stolen = method(oracle, make_net("cnn-bn", digits, 1), seed=0, watch=once())
    assert oracle.queries == method.queries_per_iteration == queries
    assert stolen.substitute_steps == 5 + 10


def test_the_last_batch_of_each_iteration_is_what_is_replayed(
    victim: nn.Module, digits: ImageData
) -> None:
    log = QueryLog(10, hashes=True)
    oracle = ModelOracle(victim, state_of(victim), SHAPE, 10, log=log)
    method = Maze(batch=8, directions=2, held_out=0)
    parts = method.begin(oracle, make_net("cnn-bn", digits, 1), 0)
    last: list[str] = []
    for _ in range(3):
        method.step(oracle, parts)
        assert log.hashes is not None
        last += log.hashes[-8:]
    assert parts.numbers["remembered"] == 24
    assert digests(parts.tensors["memory_x"][:24]) == last
    with torch.no_grad():
        labels = victim(parts.tensors["memory_x"][:24]).argmax(dim=1)
    assert torch.equal(parts.tensors["memory_y"][:24], labels)


def test_rates_fall_along_a_cosine(victim: nn.Module, digits: ImageData) -> None:
    method = Maze(batch=8, directions=1)  # 48 an iteration
    oracle = ModelOracle(victim, state_of(victim), SHAPE, 10, budget=480)
    parts = method.begin(oracle, make_net("cnn-bn", digits, 1), 0)
    for number in range(10):
        method.step(oracle, parts)
        fall = (1 + math.cos(math.pi * number / 10)) / 2
        assert parts.optimisers["substitute"].param_groups[0]["lr"] == pytest.approx(0.1 * fall)
        assert parts.optimisers["generator"].param_groups[0]["lr"] == pytest.approx(1e-4 * fall)
