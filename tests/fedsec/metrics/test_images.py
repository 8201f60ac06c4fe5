"""MSE, PSNR and SSIM against loops written out, closed forms, and scikit-image where it is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor

from fedsec.data.images import ImageData
from fedsec.errors import DataError, SettingsError
from fedsec.metrics import images
from fedsec.metrics.images import mse, pairwise_mse, pairwise_psnr, pairwise_ssim, psnr, ssim

SHAPES = [(1, 8, 8), (3, 11, 13), (3, 16, 12), (1, 5, 3), (2, 1, 4)]


def draw(n: int, shape: tuple[int, int, int], seed: int = 0) -> Tensor:
    """Some pixels are out of [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, *shape, generator=generator) * 1.4 - 0.2


def near(x: Tensor, seed: int = 1) -> Tensor:
    """The images with some noise, so that SSIM is neither 0 nor 1."""
    return x + 0.2 * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))


def ssim_by_loops(a: np.ndarray, b: np.ndarray, side: int) -> float:
    """Place by place, with moments about the means."""
    half = side // 2
    weight = np.array(
        [
            [math.exp(-(i * i + j * j) / (2 * 1.5**2)) for j in range(-half, half + 1)]
            for i in range(-half, half + 1)
        ]
    )
    weight /= weight.sum()
    values = []
    for channel in range(a.shape[0]):
        for top in range(a.shape[1] - side + 1):
            for left in range(a.shape[2] - side + 1):
                p = a[channel, top : top + side, left : left + side]
                q = b[channel, top : top + side, left : left + side]
                mp, mq = (weight * p).sum(), (weight * q).sum()
                vp, vq = (weight * (p - mp) ** 2).sum(), (weight * (q - mq) ** 2).sum()
                cov = (weight * (p - mp) * (q - mq)).sum()
                values.append(
                    (2 * mp * mq + 0.0001) * (2 * cov + 0.0009)
                    / ((mp**2 + mq**2 + 0.0001) * (vp + vq + 0.0009))
                )  # fmt: skip
    return float(np.mean(values))


@pytest.mark.parametrize("shape", SHAPES)
def test_ssim_is_that_of_a_loop_over_places(shape: tuple[int, int, int]) -> None:
    truth = draw(3, shape)
    found = near(truth)
    a, b = (x.double().clamp(0, 1).numpy() for x in (found, truth))
    for side in range(1, images.window_for(*shape[1:]) + 1, 2):
        expected = [ssim_by_loops(p, q, side) for p, q in zip(a, b, strict=True)]
        assert_allclose(ssim(found, truth, side), expected, atol=1e-12)
    assert_allclose(ssim(found, truth), expected, atol=1e-12)


def test_ssim_is_that_of_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    truth = draw(4, (3, 20, 15)).clamp(0, 1)
    found = near(truth).clamp(0, 1)
    expected = [
        metrics.structural_similarity(
            a.double().numpy(), b.double().numpy(), channel_axis=0, data_range=1,
            gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        )
        for a, b in zip(found, truth, strict=True)
    ]  # fmt: skip
    assert_allclose(ssim(found, truth), expected, atol=1e-12)


def test_ssim_of_even_images_compares_brightness() -> None:
    a, b = torch.full((1, 3, 12, 12), 0.3), torch.full((1, 3, 12, 12), 0.7)
    expected = (2 * 0.3 * 0.7 + 1e-4) / (0.3**2 + 0.7**2 + 1e-4)
    assert_allclose(ssim(a, b), [expected], rtol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_ssim_of_a_copy_is_1_and_it_is_symmetric(shape: tuple[int, int, int]) -> None:
    truth, found = draw(4, shape), draw(4, shape, seed=1)
    assert_allclose(ssim(truth, truth), 1, atol=1e-12)
    assert_allclose(ssim(truth, found), ssim(found, truth), atol=1e-12)
    assert (ssim(found, truth) < 1).all()


@pytest.mark.parametrize(
    ("height", "width", "side"),
    [(8, 8, 7), (7, 7, 7), (11, 11, 11), (10, 28, 9), (28, 28, 11), (32, 12, 11), (2, 2, 1)],
)
def test_the_window_is_11_or_the_largest_odd_one_that_fits(
    height: int, width: int, side: int
) -> None:
    assert images.window_for(height, width) == side


def test_mse_and_psnr_are_those_of_loops_over_clamped_pixels() -> None:
    found, truth = draw(3, (2, 4, 3)), draw(3, (2, 4, 3), seed=1)
    for i in range(3):
        errors = [
            (min(max(p, 0.0), 1.0) - min(max(q, 0.0), 1.0)) ** 2
            for p, q in zip(found[i].flatten().tolist(), truth[i].flatten().tolist(), strict=True)
        ]
        expected = sum(errors) / len(errors)
        assert mse(found, truth)[i].item() == pytest.approx(expected, rel=1e-12)
        assert psnr(found, truth)[i].item() == pytest.approx(10 * math.log10(1 / expected))


@pytest.mark.parametrize(("apart", "expected"), [(0.1, 20), (1, 0), (1e-5, 100), (0, 120)])
def test_psnr_has_peak_1_and_a_cap(apart: float | int, expected: float | int) -> None:
    truth = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    assert psnr(truth + apart, truth).item() == pytest.approx(expected, abs=1e-9)
    assert pairwise_psnr(truth + apart, truth).item() == pytest.approx(expected, abs=1e-9)


def test_the_mean_is_of_psnr_not_the_psnr_of_a_mean() -> None:
    truth = torch.zeros(2, 1, 4, 4)
    found = torch.stack([torch.full((1, 4, 4), 0.1), torch.full((1, 4, 4), 0.01)])
    assert_allclose(psnr(found, truth), [20, 40], rtol=1e-6)


@pytest.mark.parametrize("batch", [1, 4, 7, 1024])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 12, 14)])
def test_a_matrix_holds_what_pairs_give(shape: tuple[int, int, int], batch: int) -> None:
    found, truth = draw(3, shape), draw(5, shape, seed=1)
    for matrix, pair in ((pairwise_mse, mse), (pairwise_psnr, psnr), (pairwise_ssim, ssim)):
        expected = [[pair(a[None], b[None]).item() for b in truth] for a in found]
        assert_allclose(matrix(found, truth, batch=batch), expected, rtol=1e-12)


def test_near_copies_keep_their_distance_in_a_matrix(digits: ImageData) -> None:
    """The matrix is a difference of larger numbers; what that loses is below the cap."""
    truth = digits.train.x[:50].double() * 0.9
    apart = pairwise_mse(truth + 1e-6, truth).diagonal()
    assert_allclose(apart, 1e-12, atol=1e-14)
    assert (pairwise_mse(truth, truth) >= 0).all()


def test_nothing_but_float64_comes_out_and_no_gradients() -> None:
    truth = draw(2, (1, 8, 8)).half()
    found = truth.clone().requires_grad_()
    for score in (mse, psnr, ssim, pairwise_mse, pairwise_psnr, pairwise_ssim):
        value = score(found, truth)
        assert value.dtype == torch.float64
        assert not value.requires_grad


@pytest.mark.parametrize(
    "score", [mse, psnr, ssim, pairwise_mse, pairwise_psnr, pairwise_ssim], ids=lambda f: f.__name__
)
def test_what_cannot_be_scored_is_refused(score) -> None:
    x = torch.zeros(3, 1, 8, 8)
    broken = x.clone()
    broken[1, 0, 2, 3] = float("nan")
    with pytest.raises(DataError, match="reconstructions, image 1: a pixel is NaN or infinite"):
        score(broken, x)
    with pytest.raises(DataError, match="true images, image 1: a pixel"):
        score(x, broken)
    with pytest.raises(DataError, match="holds no pixels"):
        score(x[:0], x[:0])


def test_settings_that_do_not_fit_are_refused() -> None:
    x = torch.zeros(3, 1, 8, 8)
    with pytest.raises(DataError, match="2 reconstructions and 3 true images"):
        mse(x[:2], x)
    with pytest.raises(DataError, match="reconstructions are 1 x 8 x 8 and true images 3 x 8 x 8"):
        pairwise_mse(x, x.repeat(1, 3, 1, 1))
    for window in (0, -1, 4, 9):
        with pytest.raises(SettingsError, match=f"window = {window}: give an odd number from 1"):
            ssim(x, x, window)
    with pytest.raises(SettingsError, match="batch = 0"):
        pairwise_ssim(x, x, batch=0)
    with pytest.raises(SettingsError, match="batch = 0"):
        pairwise_mse(x, x, batch=0)
