"""Sets of images against each other: closed forms, hand-made cases, and digits against noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from fedsec.data.images import ImageData
from fedsec.errors import DataError, SettingsError
from fedsec.metrics.features import train_features
from fedsec.metrics.generation import (
    fcd,
    frechet_distance,
    frechet_of_moments,
    generation_scores,
    precision_recall,
)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_axes_that_share_their_axes_have_a_closed_form() -> None:
    """Sum over axes of (mean - mean)^2 + (deviation - deviation)^2, in any coordinates."""
    means, deviations = (
        torch.tensor(one).double() for one in ([[0, 3], [2, -1]], [[1, 0], [4, 2]])
    )
    expected = (0 - 2) ** 2 + (3 + 1) ** 2 + (1 - 4) ** 2 + (0 - 2) ** 2
    turn = torch.linalg.qr(drawn(2, 2)).Q
    for basis in (torch.eye(2).double(), turn):
        covs = [basis @ torch.diag(one**2) @ basis.T for one in deviations]
        found = frechet_of_moments(basis @ means[0], covs[0], basis @ means[1], covs[1])
        assert found == pytest.approx(expected, rel=1e-7)


def test_any_covariances_agree_with_the_matrix_root_of_scipy() -> None:
    a, b = drawn(40, 6), drawn(50, 6, seed=1) @ drawn(6, 6, seed=2) + 1
    cov_a, cov_b = np.cov(a.numpy().T), np.cov(b.numpy().T)
    apart = (a.mean(0) - b.mean(0)).square().sum().item()
    expected = apart + np.trace(cov_a + cov_b - 2 * sqrtm(cov_a @ cov_b).real)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-10)


def test_a_shift_costs_its_square_even_where_features_are_more_than_images() -> None:
    a, shift = drawn(5, 12), drawn(12, seed=1)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a + shift) == pytest.approx(float(shift.square().sum()), rel=1e-7)


def test_precision_and_recall_of_a_case_by_hand() -> None:
    """k = 1. Real images reach 1 each: 0.5 and 1.5 are near, 5 and 30 are not. Generated ones reach
    1, 1, 3.5 and 25: from 30 as far as 10 and 11, from 0.5 and 1.5 to 0 and 1.
    """
    truth = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
    found = torch.tensor([[0.5], [1.5], [5.0], [30.0]])
    assert precision_recall(found, truth, k=1) == (0.5, 1.0)
    assert precision_recall(truth, found, k=1) == (1.0, 0.5)


def test_copies_are_good_and_complete_and_strangers_neither() -> None:
    a = drawn(50, 4)
    assert precision_recall(a, a) == (1.0, 1.0)
    assert precision_recall(a + 1000, a) == (0.0, 0.0)
    assert precision_recall(a[:4] * 1e-3 + a[7], a)[0] == 1.0  # good, but of one kind
    assert precision_recall(a[:4] * 1e-3 + a[7], a)[1] < 0.1


def test_digits_stand_between_floor_and_ceiling(digits: ImageData) -> None:
    net = train_features(digits, 0, steps=150)
    draw = torch.Generator().manual_seed(0)
    real = generation_scores(net, digits.train.x[:500], digits.test.x, draw)
    assert real.fcd == fcd(net, digits.train.x[:500], digits.test.x)
    assert real.fcd < 2 * real.floor and real.floor < real.ceiling / 5
    assert real.precision > 0.6 and real.recall > 0.6
    noise = torch.rand(500, 1, 8, 8, generator=draw)
    found = generation_scores(net, noise, digits.test.x, draw)
    assert found.fcd == pytest.approx(found.ceiling, rel=0.1) and found.precision < 0.2


def test_too_few_and_broken_features_are_refused(digits: ImageData) -> None:
    a = drawn(4, 2)
    with pytest.raises(DataError, match="two rows or more"):
        frechet_distance(a[:1], a)
    with pytest.raises(DataError, match="all finite"):
        frechet_distance(a, a / 0)
    with pytest.raises(DataError, match="3 images have no 3 neighbours"):
        precision_recall(a[:3], a)
    with pytest.raises(SettingsError, match="k = 0"):
        precision_recall(a, a, k=0)
