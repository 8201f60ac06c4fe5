"""Ranks against a sorted list of all distances; duplicates, ties, and images from elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from torch import Tensor

from fedsec.data.images import ImageData
from fedsec.errors import DataError, SettingsError
from fedsec.metrics.identification import identify


def noisy(x: Tensor, strength: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return x + strength * torch.randn(x.shape, generator=generator)


def by_sorting(found: Tensor, population: Tensor, ids: Tensor) -> tuple[list[int], list[int]]:
    """Rank of population[ids[i]] and the nearest, where no distance occurs twice."""
    ranks, nearest = [], []
    for image, i in zip(found.double(), ids.tolist(), strict=True):
        distance = (image.clamp(0, 1) - population.double()).square().flatten(1).sum(dim=1)
        order = distance.argsort().tolist()
        ranks.append(1 + order.index(i))
        nearest.append(order[0])
    return ranks, nearest


@pytest.mark.parametrize("batch", [1, 100, 1024, 5000])
def test_ranks_are_places_in_the_sorted_list(batch: int, digits: ImageData) -> None:
    population = digits.train.x[:300]
    ids = torch.arange(0, 300, 25)
    found = noisy(population[ids], 0.4)
    result = identify(found, population[ids], population, batch=batch)
    ranks, nearest = by_sorting(found, population, ids)
    assert_array_equal(result.rank, ranks)
    assert_array_equal(result.nearest, nearest)
    assert_array_equal(result.reidentified, np.array(ranks) == 1)
    assert 0 < result.reidentified.mean() < 1  # the case is neither easy nor hopeless


def test_copies_are_found_and_negatives_are_not(digits: ImageData) -> None:
    x = digits.train.x
    assert_array_equal(identify(x[:20], x[:20], x).rank, 1)
    assert_array_equal(identify(x[:20], x[:20], x).nearest, np.arange(20))
    assert not identify(1 - x[:20], x[:20], x).reidentified.any()


def test_a_random_image_hits_at_the_rate_of_chance() -> None:
    """Independent truth and reconstruction: ranks are uniform, here by enumeration of all pairs."""
    x = torch.rand(30, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    pairs = torch.cartesian_prod(torch.arange(30), torch.arange(30))
    rank = identify(x[pairs[:, 0]], x[pairs[:, 1]], x).rank
    assert_array_equal(np.bincount(rank), [0] + 30 * [30])


def test_a_duplicate_of_the_truth_is_a_hit_even_where_rounding_puts_it_nearer(
    digits: ImageData,
) -> None:
    x = digits.train.x[:100]
    truth = x[:10]
    rounded = truth + 1e-7
    population = torch.cat([rounded, x])  # each of the first ten is there twice
    found = noisy(truth, 0.02)
    result = identify(found, truth, population)
    assert_array_equal(result.rank, 1)
    assert set(result.nearest.tolist()) <= set(range(20))
    assert_array_equal(identify(rounded, truth, population).rank, 1)


def test_duplicates_of_other_images_count_each(digits: ImageData) -> None:
    x = digits.train.x[:50]
    found, truth = x[:5], x[5:10]
    once, twice = (identify(found, truth, p).rank for p in (x, torch.cat([x, x])))
    assert_array_equal(twice - 1, 2 * (once - 1))


def test_a_tie_counts_for_the_truth() -> None:
    population = torch.tensor([0.25, 0.75, 1.0]).view(3, 1, 1, 1)
    halfway = torch.full((2, 1, 1, 1), 0.5)
    assert_array_equal(identify(halfway, population[:2], population).rank, [1, 1])
    assert_array_equal(identify(halfway[:1], population[2:], population).rank, [3])


def test_a_truth_from_elsewhere_competes(digits: ImageData) -> None:
    truth, population = digits.test.x[:10], digits.train.x
    assert_array_equal(identify(truth, truth, population).rank, 1)
    added = torch.cat([population, truth])
    found = noisy(truth, 0.5)
    assert_array_equal(identify(found, truth, population).rank, identify(found, truth, added).rank)


def test_features_take_the_place_of_pixels(digits: ImageData) -> None:
    def ink(x: Tensor) -> Tensor:
        return x.flatten(1).sum(dim=1, keepdim=True)

    population = digits.train.x[:40]
    found, truth = digits.test.x[:8], population[:8]
    expected = [
        1 + int((abs(ink(population) - ink(a[None])) < abs(ink(b[None]) - ink(a[None]))).sum())
        for a, b in zip(found, truth, strict=True)
    ]
    assert_array_equal(identify(found, truth, population, features=ink, batch=7).rank, expected)
    same = identify(found, truth, population, features=lambda x: x.flatten(1))
    assert_array_equal(same.rank, identify(found, truth, population).rank)


def test_what_cannot_be_compared_is_refused() -> None:
    x = torch.zeros(3, 1, 4, 4)
    with pytest.raises(DataError, match="give pairs, and images of one form"):
        identify(x[:2], x, x)
    with pytest.raises(DataError, match="give pairs, and images of one form"):
        identify(x, x, torch.zeros(3, 3, 4, 4))
    with pytest.raises(DataError, match="the population is empty"):
        identify(x, x, x[:0])
    with pytest.raises(DataError, match="reconstructions, image 0: a pixel is NaN"):
        identify(x * float("nan"), x, x)  # which is nearer to nothing, and so would rank first
    with pytest.raises(DataError, match="population, from 2 on, image 0"):
        identify(x, x, torch.cat([x[:2], x[:1] / 0]), batch=2)
    with pytest.raises(SettingsError, match="batch = 0"):
        identify(x, x, x, batch=0)
