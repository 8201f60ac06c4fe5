"""Distances against their formulas, tensor by tensor and row by row."""

import pytest
import torch
from torch import Tensor

from fedsec.inversion.distances import (
    Distance,
    absolute,
    as_row,
    cosine,
    row_of,
    rows_of,
    squared,
    weighted_cosine,
)

DISTANCES: dict[str, Distance] = {
    "squared": squared,
    "absolute": absolute,
    "cosine": cosine,
    "weighted": weighted_cosine({"a": 1.0, "b": 4.0, "c": 0.5}),
}


def tensors(seed: int, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"a": (3, 2), "b": (4,), "c": ()}
    return {
        name: torch.randn(shape, generator=generator, dtype=dtype) for name, shape in shapes.items()
    }


def rows(*seeds: int) -> dict[str, Tensor]:
    each = [tensors(seed) for seed in seeds]
    return {name: torch.stack([one[name] for one in each]) for name in each[0]}


def between(distance: Distance, target: dict[str, Tensor], trial: dict[str, Tensor]) -> Tensor:
    return distance(as_row(target))(row_of(trial, target))[0]


def test_squared_and_absolute_are_shares_of_the_target() -> None:
    one, two = tensors(0), tensors(1)
    gap = sum(((one[k] - two[k]) ** 2).sum() for k in one) / sum((two[k] ** 2).sum() for k in two)
    torch.testing.assert_close(between(squared, two, one), gap)
    gap = sum((one[k] - two[k]).abs().sum() for k in one) / sum(two[k].abs().sum() for k in two)
    torch.testing.assert_close(between(absolute, two, one), gap)


def test_the_weighted_cosine_is_the_published_formula() -> None:
    one, two, weights = tensors(0), tensors(1), {"a": 1.0, "b": 4.0, "c": 0.5}
    dot = sum(weights[k] * (one[k] * two[k]).sum() for k in one)
    norms = [sum(weights[k] * (v[k] ** 2).sum() for k in v) for v in (one, two)]
    expected = 1 - dot / (norms[0] * norms[1]) ** 0.5
    torch.testing.assert_close(between(weighted_cosine(weights), two, one), expected)


def test_equal_weights_give_the_cosine() -> None:
    one, two = tensors(0), tensors(1)
    equal = weighted_cosine(dict.fromkeys(one, 3.0))
    torch.testing.assert_close(between(equal, two, one), between(cosine, two, one))


@pytest.mark.parametrize("name", DISTANCES)
def test_nothing_between_equal_gradients(name: str) -> None:
    one = tensors(0)
    torch.testing.assert_close(
        between(DISTANCES[name], one, one), torch.zeros((), dtype=torch.float64), atol=1e-12, rtol=0
    )


@pytest.mark.parametrize("name", ["cosine", "weighted"])
def test_a_cosine_knows_no_scale(name: str) -> None:
    one, two = tensors(0), tensors(1)
    larger = {k: 1e-6 * v for k, v in one.items()}
    torch.testing.assert_close(
        between(DISTANCES[name], two, larger), between(DISTANCES[name], two, one)
    )


@pytest.mark.parametrize("name", DISTANCES)
def test_the_order_of_names_is_the_targets(name: str) -> None:
    one, two = tensors(0), tensors(1)
    turned = dict(reversed(one.items()))
    torch.testing.assert_close(
        between(DISTANCES[name], two, turned), between(DISTANCES[name], two, one)
    )


@pytest.mark.parametrize("name", DISTANCES)
def test_zero_gradients_give_no_nan(name: str) -> None:
    zero = {k: torch.zeros_like(v).requires_grad_() for k, v in tensors(0).items()}
    found = between(DISTANCES[name], tensors(1), zero)
    slopes = torch.autograd.grad(found, tuple(zero.values()))
    assert found.isfinite() and all(slope.isfinite().all() for slope in slopes)
    nothing = {k: torch.zeros_like(v) for k, v in tensors(0).items()}
    assert between(DISTANCES[name], nothing, tensors(1)).isfinite()


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("of_target", [(3,), (3, 4, 5)])
def test_every_row_is_compared_by_itself(name: str, of_target: tuple[int, ...]) -> None:
    distance, trial, target = DISTANCES[name], rows(0, 1, 2), rows(*of_target)
    found = distance(target)(rows_of(trial, target))
    assert found.shape == (3,)
    for row in range(3):
        alone = between(distance, tensors(of_target[row % len(of_target)]), tensors(row))
        torch.testing.assert_close(found[row], alone)


@pytest.mark.parametrize("weights", [None, {"a": 1.0, "b": 4.0, "c": 0.5}])
@pytest.mark.parametrize("of_target", [(3,), (3, 4)])
def test_slopes_of_a_cosine_are_those_of_its_formula(
    weights: dict[str, float] | None, of_target: tuple[int, ...]
) -> None:
    target, trial = rows(*of_target), rows(0, 1)
    of_rows = torch.tensor([1.0, -0.3], dtype=torch.float64)
    leaves = [value.requires_grad_() for value in trial.values()]
    distance = cosine if weights is None else weighted_cosine(weights)
    found = torch.autograd.grad(distance(target)(rows_of(trial, target)) @ of_rows, leaves)
    roots = {name: 1.0 if weights is None else weights[name] ** 0.5 for name in trial}
    one, two = (rows_of({k: roots[k] * v for k, v in of.items()}, target) for of in (trial, target))
    expected = 1 - (one * two).sum(1) / one.norm(dim=1) / two.norm(dim=1)
    torch.testing.assert_close(found, torch.autograd.grad(expected @ of_rows, leaves))


def test_a_cosine_is_differentiated_once() -> None:
    trial = {name: value.requires_grad_() for name, value in rows(0).items()}
    found = cosine(rows(1))(rows_of(trial, trial)).sum()
    torch.autograd.grad(found, list(trial.values()), retain_graph=True)
    with pytest.raises(RuntimeError, match="once"):
        torch.autograd.grad(found, list(trial.values()))


@pytest.mark.parametrize("name", ["cosine", "weighted"])
@pytest.mark.parametrize("angle", [1e-2, 1e-3, 1e-4, 1e-5])
def test_single_precision_tells_small_angles(name: str, angle: float) -> None:
    """Oracle: the same numbers in double precision; 1 - cos in single ends at angles of 3e-4."""
    generator = torch.Generator().manual_seed(0)
    target = {k: torch.randn(1, 1000, generator=generator) for k in "abc"}
    trial = torch.cat(
        [3 * (v + angle * torch.randn(1, 1000, generator=generator)) for v in target.values()], 1
    )
    exact = DISTANCES[name]({k: v.double() for k, v in target.items()})(trial.double())
    found = DISTANCES[name](target)(trial)
    torch.testing.assert_close(found.double(), exact, rtol=0.02, atol=0)


def test_a_cosine_of_opposite_gradients_is_two() -> None:
    one = tensors(0)
    opposite = {k: -2 * v for k, v in one.items()}
    torch.testing.assert_close(
        between(cosine, one, opposite), torch.tensor(2.0, dtype=torch.float64)
    )
