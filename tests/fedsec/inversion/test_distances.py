"""Distances against their formulas, tensor by tensor."""

import pytest
import torch
from torch import Tensor

from fedsec.inversion.distances import Distance, absolute, cosine, squared, weighted_cosine

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


def test_squared_and_absolute_are_shares_of_the_target() -> None:
    one, two = tensors(0), tensors(1)
    gap = sum(((one[k] - two[k]) ** 2).sum() for k in one) / sum((two[k] ** 2).sum() for k in two)
    torch.testing.assert_close(squared(two)(one), gap)
    gap = sum((one[k] - two[k]).abs().sum() for k in one) / sum(two[k].abs().sum() for k in two)
    torch.testing.assert_close(absolute(two)(one), gap)


def test_the_weighted_cosine_is_the_published_formula() -> None:
    one, two, weights = tensors(0), tensors(1), {"a": 1.0, "b": 4.0, "c": 0.5}
    dot = sum(weights[k] * (one[k] * two[k]).sum() for k in one)
    norms = [sum(weights[k] * (v[k] ** 2).sum() for k in v) for v in (one, two)]
    expected = 1 - dot / (norms[0] * norms[1]) ** 0.5
    torch.testing.assert_close(weighted_cosine(weights)(two)(one), expected)


def test_equal_weights_give_the_cosine() -> None:
    one, two = tensors(0), tensors(1)
    equal = weighted_cosine(dict.fromkeys(one, 3.0))
    torch.testing.assert_close(equal(two)(one), cosine(two)(one))


@pytest.mark.parametrize("name", DISTANCES)
def test_nothing_between_equal_gradients(name: str) -> None:
    one = tensors(0)
    torch.testing.assert_close(
        DISTANCES[name](one)(one), torch.zeros((), dtype=torch.float64), atol=1e-12, rtol=0
    )


@pytest.mark.parametrize("name", ["cosine", "weighted"])
def test_a_cosine_knows_no_scale(name: str) -> None:
    one, two = tensors(0), tensors(1)
    larger = {k: 1e-6 * v for k, v in one.items()}
    torch.testing.assert_close(DISTANCES[name](two)(larger), DISTANCES[name](two)(one))


@pytest.mark.parametrize("name", DISTANCES)
def test_the_order_of_names_is_the_targets(name: str) -> None:
    one, two = tensors(0), tensors(1)
    turned = dict(reversed(one.items()))
    torch.testing.assert_close(DISTANCES[name](two)(turned), DISTANCES[name](two)(one))


@pytest.mark.parametrize("name", DISTANCES)
def test_zero_gradients_give_no_nan(name: str) -> None:
    zero = {k: torch.zeros_like(v).requires_grad_() for k, v in tensors(0).items()}
    found = DISTANCES[name](tensors(1))(zero)
    slopes = torch.autograd.grad(found, tuple(zero.values()))
    assert found.isfinite() and all(slope.isfinite().all() for slope in slopes)
    nothing = {k: torch.zeros_like(v) for k, v in tensors(0).items()}
    assert DISTANCES[name](nothing)(tensors(1)).isfinite()
