"""Scores of matched pairs against scores taken by hand, and controls that must not look good."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import Tensor

from fedsec.data.images import ImageData, Images
from fedsec.errors import DataError, SettingsError
from fedsec.inversion.scores import (
    class_mean_images,
    controls,
    mean_image,
    random_images,
    score,
)
from fedsec.metrics.features import FeatureNet, train_features
from fedsec.metrics.images import mse, pairwise_mse, psnr, ssim


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noisy(x: Tensor, strength: float) -> Tensor:
    return x + strength * torch.randn(x.shape, generator=stream())


@pytest.fixture(scope="module")
def features(digits: ImageData) -> FeatureNet:
    return train_features(digits, 0, steps=60)


def test_scores_are_by_true_image_whatever_the_order(
    digits: ImageData, features: FeatureNet
) -> None:
    truth, y = digits.train.x[:6], digits.train.y[:6]
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    found = noisy(truth, 0.1)
    scores = score(
        found[order], truth, population=digits.train, features=features,
        found_labels=torch.where(y == y[0], y + 1, y)[order], true_labels=y,
    )  # fmt: skip
    assert_array_equal(order[scores.match_of], np.arange(6))
    for name, expected in (
        ("mse", mse(found, truth)),
        ("psnr", psnr(found, truth)),
        ("ssim", ssim(found, truth)),
        ("feature_distance", features.distance(found, truth)),
    ):
        assert_allclose(getattr(scores, name), expected, rtol=1e-6)
    assert_array_equal(scores.label_correct, y != y[0])
    assert_array_equal(scores.rank, 1)
    assert scores.reidentified is not None and scores.reidentified.all()
    assert (scores.window, scores.n_found, scores.n_population) == (7, 6, 1297)
    assert scores.features == features.name


def test_a_true_image_without_reconstruction_is_scored_against_nothing(digits: ImageData) -> None:
    truth, y = digits.train.x[:5], digits.train.y[:5]
    scores = score(
        truth[[4, 1]], truth, population=digits.train, found_labels=y[[4, 1]], true_labels=y
    )
    assert_array_equal(scores.match_of, [-1, 1, -1, -1, 0])
    assert_allclose(scores.psnr, [np.nan, 120, np.nan, np.nan, 120])
    assert_allclose(scores.rank, [np.nan, 1, np.nan, np.nan, 1])
    assert_array_equal(scores.reidentified, [False, True, False, False, True])
    assert_array_equal(scores.label_correct, [False, True, False, False, True])
    summary = scores.summary()
    assert (summary["n_truth"], summary["n_found"], summary["n_matched"]) == (5, 2, 2)
    assert summary["psnr_median"] == summary["psnr_mean"] == 120
    for share in ("share_reidentified", "share_labels_correct", "share_psnr_above_25"):
        assert summary[share] == pytest.approx(2 / 5)


def test_spare_reconstructions_are_left_out_and_counted(digits: ImageData) -> None:
    truth = digits.train.x[:3]
    found = torch.cat([1 - truth, truth])
    scores = score(found, truth)
    assert_array_equal(scores.match_of, [3, 4, 5])
    assert scores.summary()["n_found"] == 6


def test_a_summary_is_plain_json_with_none_for_what_was_not_asked(digits: ImageData) -> None:
    summary = score(noisy(digits.train.x[:4], 0.2), digits.train.x[:4]).summary()
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    missing = {name for name, value in summary.items() if value is None}
    assert missing == {
        "n_population", "features", "feature_distance_median", "feature_distance_mean",
        "rank_median", "rank_mean", "share_reidentified", "share_labels_correct",
    }  # fmt: skip


def test_medians_means_and_shares_are_those_of_the_arrays(
    digits: ImageData, features: FeatureNet
) -> None:
    strengths = torch.tensor([0.0, 0.03, 0.08, 0.3, 1.0]).view(5, 1, 1, 1)
    truth = digits.train.x[:5]
    found = truth + strengths * torch.randn(truth.shape, generator=stream())
    scores = score(found, truth, population=digits.train, features=features)
    summary = scores.summary()
    for name in ("psnr", "ssim", "mse", "feature_distance", "rank"):
        values = getattr(scores, name)
        assert summary[f"{name}_median"] == pytest.approx(np.median(values))
        assert summary[f"{name}_mean"] == pytest.approx(np.mean(values))
    assert summary["share_psnr_above_19"] == np.mean(scores.psnr > 19)
    assert 0 < summary["share_psnr_above_19"] < 1


def test_more_noise_is_worse_in_every_score(digits: ImageData, features: FeatureNet) -> None:
    truth = digits.train.x[:32]
    rows = [
        score(noisy(truth, strength), truth, population=digits.train, features=features).summary()
        for strength in (0.01, 0.1, 0.3, 1.0)
    ]
    for name, sign in (
        ("psnr_mean", -1), ("ssim_mean", -1), ("mse_mean", 1), ("feature_distance_mean", 1),
        ("rank_mean", 1), ("share_reidentified", -1),
    ):  # fmt: skip
        values = [sign * row[name] for row in rows]
        assert values == sorted(values), name


def test_controls_are_scored_on_the_same_footing(digits: ImageData, features: FeatureNet) -> None:
    truth, y = digits.train.x[:20], digits.train.y[:20]
    found = controls(
        truth, digits.train, generator=stream(), features=features, true_labels=y, n=25
    )
    assert set(found) == {"mean_image", "random_images", "class_mean_images"}
    grey = digits.train.x.double().mean(dim=0, keepdim=True).expand(20, -1, -1, -1)
    assert_allclose(found["mean_image"].psnr, psnr(grey, truth), rtol=1e-5)
    assert [scores.n_found for scores in found.values()] == [25, 25, 20]
    for scores in found.values():
        assert scores.summary()["share_reidentified"] <= 0.1
        assert scores.features == features.name
    of_class, mean = found["class_mean_images"], found["mean_image"]
    assert of_class.mse.mean() < mean.mse.mean()
    assert "class_mean_images" not in controls(truth, digits.train, generator=stream())


def test_one_random_image_is_twice_as_far_as_the_mean_and_matching_many_brings_them_nearer(
    digits: ImageData,
) -> None:
    """E|a - b|^2 = 2 E|a - mean|^2, here over all pairs of a population."""
    few = digits.train.subset(torch.arange(40))
    of_mean = score(mean_image(few, 40), few.x).mse.mean()
    assert pairwise_mse(few.x, few.x).mean().item() == pytest.approx(2 * of_mean, rel=1e-5)
    truth = digits.test.x[:20]
    many = score(random_images(digits.train, 500, stream()), truth)
    assert many.mse.mean() < score(mean_image(digits.train, 20), truth).mse.mean()


def test_an_attack_that_sees_something_beats_the_controls(digits: ImageData) -> None:
    truth = digits.train.x[:16]
    attack = score(noisy(truth, 0.15), truth, population=digits.train).summary()
    for control in controls(truth, digits.train, generator=stream()).values():
        assert attack["psnr_median"] > control.summary()["psnr_median"] + 2


def test_class_means_match_a_loop_and_random_images_are_different_ones(digits: ImageData) -> None:
    labels = torch.tensor([3, 0, 3, 9])
    expected = [digits.train.x[digits.train.y == label].mean(dim=0) for label in labels]
    assert_allclose(class_mean_images(digits.train, labels), torch.stack(expected), atol=1e-6)
    few = digits.train.subset(torch.arange(7))
    drawn = random_images(few, 7, stream())
    assert drawn.flatten(1).unique(dim=0).shape[0] == 7
    assert torch.equal(drawn, random_images(few, 7, stream()))
    assert not torch.equal(drawn, random_images(few, 7, stream(1)))
    assert torch.equal(mean_image(few, 2)[0], mean_image(few, 2)[1])


def test_what_cannot_be_scored_or_guessed_is_refused(digits: ImageData) -> None:
    few = digits.train.subset(torch.arange(7))
    empty = Images(few.x[:0], few.y[:0])
    with pytest.raises(DataError, match="reconstructions, image 0: a pixel is NaN"):
        score(few.x * float("nan"), few.x)
    with pytest.raises(DataError, match="bring them to one form"):
        score(few.x, few.x[:, :, :4])
    with pytest.raises(DataError, match="8 different images are asked for, and there are 7"):
        random_images(few, 8, stream())
    with pytest.raises(SettingsError, match="n = 0"):
        mean_image(few, 0)
    with pytest.raises(DataError, match="no images to guess from"):
        mean_image(empty, 1)
    with pytest.raises(DataError, match="no image of class 11"):
        class_mean_images(few, torch.tensor([0, 11]))
