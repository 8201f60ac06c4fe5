"""The estimator on functions whose slope is known: exact, in the mean, and by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fedsec.errors import SettingsError
from fedsec.stealing.zeroth_order import estimate, sphere


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


SLOPES = torch.randn(3, 2, 2, 2, generator=seeded(0), dtype=torch.float64)
POINTS = torch.randn(3, 2, 2, 2, generator=seeded(1), dtype=torch.float64)


def linear(v: Tensor) -> Tensor:
    """a_i . v_i for each point, however often the points are repeated."""
    return (v.view(-1, *SLOPES.shape) * SLOPES).flatten(2).sum(dim=2).flatten()


def test_directions_are_of_length_one_and_without_preference() -> None:
    u = sphere(2000, POINTS, seeded(2)).flatten(2)
    assert torch.allclose(u.norm(dim=2), torch.ones(2000, 3, dtype=torch.float64))
    rows = u.flatten(0, 1)
    assert rows.mean(dim=0).abs().max() < 4 / (8 * 6000) ** 0.5
    second = rows.T @ rows / len(rows)  # of a uniform direction: identity / D
    assert torch.allclose(second, torch.eye(8, dtype=torch.float64) / 8, atol=0.01)


@pytest.mark.parametrize("directions", [1, 10])
def test_the_mean_over_draws_is_the_slope(directions: int) -> None:
    """Within three standard errors, in each of the 24 coordinates, or four in one of them."""
    n_classes = 10
    generator = seeded(3)
    draws = torch.stack(
        [
            estimate(
                linear, POINTS, sphere(directions, POINTS, generator), scale=n_classes * len(POINTS)
            ).gradient
            for _ in range(10_000 // directions)
        ]
    )
    error = draws.mean(dim=0) - SLOPES / (n_classes * len(POINTS))
    ratio = (error / (draws.std(dim=0) / len(draws) ** 0.5)).abs().flatten()
    assert (ratio > 3).sum() <= 1 and ratio.max() < 4


def test_orthogonal_directions_give_the_slope_exactly() -> None:
    basis, _ = torch.linalg.qr(torch.randn(8, 8, generator=seeded(4), dtype=torch.float64))
    directions = basis.view(8, 1, 2, 2, 2).expand(8, 3, 2, 2, 2)
    found = estimate(linear, POINTS, directions, scale=2)
    assert torch.allclose(found.gradient, SLOPES / 2, atol=1e-9)
    assert torch.allclose(found.value, linear(POINTS))


def test_of_a_curved_function_the_error_is_of_the_order_of_eps() -> None:
    """F = |v|^2 / 2: a forward difference along u is v.u + eps / 2, so the error is known."""
    directions = torch.eye(8, dtype=torch.float64).view(8, 1, 2, 2, 2).expand(8, 3, 2, 2, 2)
    for eps in (1e-2, 1e-3):
        found = estimate(lambda v: v.flatten(1).square().sum(1) / 2, POINTS, directions, eps=eps)
        assert torch.allclose(found.gradient, POINTS + eps / 2, atol=1e-9)


@pytest.mark.parametrize("directions", [1, 2, 10])
def test_it_asks_once_about_points_and_moved_points(directions: int) -> None:
    asked = []

    def value(v: Tensor) -> Tensor:
        asked.append(len(v))
        return linear(v)

    found = estimate(value, POINTS, sphere(directions, POINTS, seeded(5)))
    assert asked == [3 * (directions + 1)] == [found.asked]


def test_settings_out_of_range_are_refused() -> None:
    directions = sphere(1, POINTS, seeded(6))
    with pytest.raises(SettingsError, match="eps = 0: give a number above 0"):
        estimate(linear, POINTS, directions, eps=0)
    with pytest.raises(SettingsError, match="scale = -1"):
        estimate(linear, POINTS, directions, scale=-1)
    with pytest.raises(SettingsError, match="no directions: give at least 1"):
        estimate(linear, POINTS, directions[:0])
