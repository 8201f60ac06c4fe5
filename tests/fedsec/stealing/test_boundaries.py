"""Distances to the boundary of a linear classifier, which has them in closed form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fedsec.stealing.boundaries import bisected, nearest, turned, unit
from fedsec.stealing.zeroth_order import sphere


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Half:
    """Inside is w.x + b > 0; counts what it is asked."""

    def __init__(self, size: int, seed: int) -> None:
        self.w = torch.randn(1, 1, size, generator=seeded(seed), dtype=torch.float64)
        self.b, self.asked = 0.3, 0

    def margin(self, x: Tensor) -> Tensor:
        return (x * self.w).flatten(1).sum(dim=1) + self.b

    def inside(self, x: Tensor, rows: Tensor) -> Tensor:
        assert len(x) == len(rows)
        self.asked += len(x)
        return self.margin(x) > 0


def points(half: Half, n: int, size: int) -> Tensor:
    """Some on the inside."""
    x = torch.randn(40 * n, 1, 1, size, generator=seeded(1), dtype=torch.float64)
    return x[half.margin(x) > 0.2][:n]


def ways_out(half: Half, x: Tensor) -> tuple[Tensor, Tensor]:
    """Unit directions that lead out, and distances at which it is outside."""
    drawn = unit(torch.randn(x.shape, generator=seeded(2), dtype=torch.float64))
    slope = (drawn * half.w).flatten(1).sum(dim=1)
    out = drawn * -slope.sign()[:, None, None, None]
    return out, 1.7 * half.margin(x) / slope.abs()


@pytest.mark.parametrize("n", [1, 5, 12])
def test_bisection_finds_the_boundary_along_a_line(n: int) -> None:
    half = Half(6, seed=0)
    x = points(half, 30, 6)
    direction, far = ways_out(half, x)
    exact = far / 1.7
    found = bisected(half.inside, x, direction, far, torch.arange(30), n)
    assert ((found >= exact) & (found - exact <= far / 2**n)).all()
    assert half.asked == 30 * n


@pytest.mark.parametrize(("size", "turns", "tolerance"), [(2, 40, 0.05), (6, 80, 0.1)])
def test_turning_finds_the_shortest_way(size: int, turns: int, tolerance: float) -> None:
    """|w.x + b| / |w|; on the way no distance rises, and all stay outside."""
    half = Half(size, seed=3)
    x, generator = points(half, 20, size), seeded(4)
    direction, far = ways_out(half, x)
    rows = torch.arange(20)
    distance = bisected(half.inside, x, direction, far, rows, 12)
    shortest = half.margin(x) / half.w.norm()
    assert (distance > shortest * (1 + tolerance)).float().mean() > 0.5
    for _ in range(turns):
        asked = half.asked
        around = sphere(10, direction, generator)
        direction, new = turned(half.inside, x, direction, distance, rows, around, 12)
        assert half.asked - asked <= 20 * (10 + 1 + 12)
        assert (new <= distance).all()
        assert not half.inside(x + new[:, None, None, None] * direction, rows).any()
        distance = new
    assert torch.allclose(direction.flatten(1).norm(dim=1), torch.ones(20, dtype=torch.float64))
    ratio = distance / shortest
    assert (ratio >= 1 - 1e-9).all() and ratio.median() < 1 + tolerance


def test_the_nearest_that_are_allowed() -> None:
    x = torch.tensor([0.0, 10.0]).view(2, 1, 1, 1)
    others = torch.tensor([1.0, 4.0, 9.0, -2.0]).view(4, 1, 1, 1)
    allowed = torch.tensor([[True, True, False, True], [True, False, False, False]])
    far, which = nearest(x, others, allowed, 2)
    assert far[0].tolist() == [1.0, 2.0] and which[0].tolist() == [0, 3]
    assert far[1, 0] == 9.0 and which[1, 0] == 0 and far[1, 1].isinf()


def test_a_unit_vector_of_nothing_is_nothing() -> None:
    assert torch.equal(unit(torch.zeros(2, 1, 2, 2)), torch.zeros(2, 1, 2, 2))
