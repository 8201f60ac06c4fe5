"""The assignment against all permutations, and what the two costs make of a mixed batch."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from fedsec.data.images import ImageData
from fedsec.errors import DataError
from fedsec.metrics.images import mse, psnr
from fedsec.metrics.matching import assign, match, mse_cost, psnr_cost


def least_of_all(cost: np.ndarray) -> float:
    """Over every way to give the smaller side different partners."""
    small = cost if cost.shape[0] <= cost.shape[1] else cost.T
    n, m = small.shape
    return min(sum(small[range(n), chosen]) for chosen in permutations(range(m), n))


@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (6, 6), (3, 6), (6, 3), (1, 5), (5, 1)])
@pytest.mark.parametrize("seed", range(5))
def test_no_permutation_costs_less(shape: tuple[int, int], seed: int) -> None:
    cost = np.random.default_rng(seed).normal(size=shape)
    pairs = assign(cost)
    assert len(pairs) == min(shape)
    assert len(set(pairs.found)) == len(set(pairs.truth)) == len(pairs)
    assert (np.diff(pairs.truth) > 0).all()
    assert_allclose(cost[pairs.found, pairs.truth].sum(), least_of_all(cost), rtol=1e-12)


@pytest.mark.parametrize("n_found", [3, 5, 6])
def test_images_are_matched_at_least_total_mse_or_greatest_psnr(
    n_found: int, digits: ImageData
) -> None:
    truth, found = digits.train.x[:5], digits.train.x[20 : 20 + n_found]
    for cost, score, sign in ((mse_cost, mse, 1), (psnr_cost, psnr, -1)):
        matrix = np.array([[score(a[None], b[None]).item() for b in truth] for a in found]) * sign
        pairs = match(found, truth, cost=cost)
        total = score(found[pairs.found], truth[pairs.truth]).sum().item() * sign
        assert total == pytest.approx(least_of_all(matrix), rel=1e-12)


@pytest.mark.parametrize("cost", [mse_cost, psnr_cost])
def test_a_shuffle_is_undone(cost, digits: ImageData) -> None:
    truth = digits.train.x[:16]
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(16, generator=generator)
    found = truth[order] + 0.1 * torch.randn(truth.shape, generator=generator)
    pairs = match(found, truth, cost=cost)
    assert_array_equal(order[pairs.found], np.arange(16))
    assert_array_equal(pairs.truth, np.arange(16))


def test_total_mse_may_take_a_copy_from_its_truth_and_psnr_does_not() -> None:
    """On one pixel: 0.5 is a copy, and 1 is far from both 0 and 0.5: 0.5^2 + 0.5^2 < 1^2."""
    truth = torch.tensor([0.0, 0.5]).view(2, 1, 1, 1)
    found = torch.tensor([0.5, 1.0]).view(2, 1, 1, 1)
    assert_array_equal(match(found, truth, cost=mse_cost).found, [0, 1])
    assert_array_equal(match(found, truth).found, [1, 0])


def test_spare_reconstructions_are_the_worst_ones(digits: ImageData) -> None:
    truth = digits.train.x[:4]
    found = torch.cat([torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)), truth])
    assert_array_equal(match(found, truth).found, [3, 4, 5, 6])


def test_what_cannot_be_matched_is_refused() -> None:
    x = torch.zeros(2, 1, 4, 4)
    with pytest.raises(DataError, match="reconstructions, image 0: a pixel is NaN or infinite"):
        match(x * float("nan"), x)
    with pytest.raises(DataError, match="holds no pixels"):
        match(x[:0], x)
    with pytest.raises(DataError, match="reconstruction 0 and true image 1 is inf"):
        assign(np.array([[0.0, np.inf]]))
