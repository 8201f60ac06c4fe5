"""How near generated images come to real ones, as sets: a Frechet distance, precision and recall.

fcd         Frechet distance of two normal distributions with the means and covariances of the
            features of both sets, by a classifier that was trained here: 0 for equal moments
precision   share of generated images within the reach of a real one: are they good?
recall      share of real images within the reach of a generated one: are all kinds there?
            The reach of an image is the distance to its k-th nearest neighbour in its own set
Papers      Heusel et al. (2017), GANs trained by a two time-scale update rule, eq. 6 (there of
            Inception features: FID); Kynkaanniemi et al. (2019), Improved precision and recall
            metric for assessing generative models, eqs. 1-2
Departures  Features are those of `fedsec.metrics.features`. So fcd is not FID, and numbers of
            different sets, networks, seeds or numbers of images do not compare.

An fcd alone says little. It comes with a floor, between two halves of the real images, and a
ceiling, of noise. With few images it is biased upwards, the more so the fewer: compare sets of one
size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fedsec.errors import DataError, SettingsError
from fedsec.metrics.features import FeatureNet

NEIGHBOURS = 3
ROWS = 1024  # of a matrix of distances at once

Pictures = Float[Tensor, "sample channel height width"]
OtherPictures = Float[Tensor, "other channel height width"]
Features = Float[Tensor, "sample feature"]


@dataclass(frozen=True)
class GenerationScores:
    """Of generated images against real ones.

    fcd        0 upwards; lower is better
    floor      fcd of one half of the real images against the other
    ceiling    fcd of noise, uniform in [0, 1], against the real images, as many as were generated
    precision  0 to 1
    recall     0 to 1
    """

    fcd: float
    floor: float
    ceiling: float
    precision: float
    recall: float


def generation_scores(
    net: FeatureNet, found: Pictures, truth: OtherPictures, generator: torch.Generator
) -> GenerationScores:
    """All scores of generated images `found` against real ones, both in [0, 1].

    The generator draws the halves and the noise. Raises DataError for fewer than 8 images of
    either, or such as the network cannot take.
    """
    for what, images in (("generated", found), ("real", truth)):
        if len(images) < 2 * (NEIGHBOURS + 1):
            raise DataError(f"{len(images)} {what} images: give at least {2 * (NEIGHBOURS + 1)}")
    noise = torch.rand(found.shape, generator=generator, device=generator.device)
    order = torch.randperm(len(truth), generator=generator, device=generator.device)
    half = len(truth) // 2
    of_found, of_truth = net.features(found), net.features(truth)
    shuffled = of_truth[order.to(of_truth.device)]
    precision, recall = precision_recall(of_found, of_truth)
    return GenerationScores(
        fcd=frechet_distance(of_found, of_truth),
        floor=frechet_distance(shuffled[:half], shuffled[half:]),
        ceiling=frechet_distance(net.features(noise), of_truth),
        precision=precision,
        recall=recall,
    )


def fcd(net: FeatureNet, found: Pictures, truth: OtherPictures) -> float:
    """Frechet distance of the classifier's features of generated images and real ones, in [0, 1].

    Raises DataError for fewer than two images, or such as the network cannot take.
    """
    return frechet_distance(net.features(found), net.features(truth))


def frechet_distance(found: Features, truth: Float[Tensor, "other feature"]) -> float:
    """Of the normal distributions with the moments of two sets (covariances over n - 1), float64.

    Raises DataError for fewer than two rows, or features that are not finite.
    """
    for rows in (found, truth):
        if len(rows) < 2 or not torch.isfinite(rows).all():
            raise DataError(
                f"features of shape {tuple(rows.shape)}: give two rows or more, all finite"
            )
    return frechet_of_moments(*_moments(found), *_moments(truth))


def frechet_of_moments(
    mean_a: Float[Tensor, " feature"],
    cov_a: Float[Tensor, "feature feature"],
    mean_b: Float[Tensor, " feature"],
    cov_b: Float[Tensor, "feature feature"],
) -> float:
    """|mean_a - mean_b|^2 + tr(A) + tr(B) - 2 tr((A^1/2 B A^1/2)^1/2), of normal distributions.

    The last trace is the sum of the singular values of A^1/2 B^1/2. Taken so, no root of a rounded
    eigenvalue near 0 comes in, and singular covariances need no ridge.
    """
    shared = torch.linalg.svdvals(_root(cov_a.double()) @ _root(cov_b.double())).sum()
    apart = (mean_a.double() - mean_b.double()).square().sum()
    return max(float(apart + cov_a.trace() + cov_b.trace() - 2 * shared), 0.0)


def precision_recall(
    found: Features, truth: Float[Tensor, "other feature"], k: int = NEIGHBOURS
) -> tuple[float, float]:
    """(precision, recall) of the features of generated images against those of real ones.

    An image on the border is within reach. Raises SettingsError for k below 1, DataError where a
    set has not more than k images.
    """
    if k < 1:
        raise SettingsError(f"k = {k}: give at least 1")
    for rows in (found, truth):
        if len(rows) <= k:
            raise DataError(f"{len(rows)} images have no {k} neighbours each: give more than {k}")
    found, truth = found.double(), truth.double().to(found.device)
    return _share_within(found, truth, k), _share_within(truth, found, k)


def _share_within(asked: Tensor, others: Tensor, k: int) -> float:
    """The share of `asked` within the reach of any of the others."""
    nth: Callable[[Tensor], Tensor] = lambda rows: rows.kthvalue(k + 1, dim=1).values  # noqa: E731
    reach = torch.cat([nth(torch.cdist(rows, others)) for rows in others.split(ROWS)])
    within = [(torch.cdist(rows, others) <= reach).any(dim=1) for rows in asked.split(ROWS)]
    return float(torch.cat(within).double().mean())


def _moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    exact = rows.double()
    centred = exact - exact.mean(dim=0)
    return exact.mean(dim=0), centred.T @ centred / (len(rows) - 1)


def _root(cov: Tensor) -> Tensor:
    """The symmetric square root of a covariance."""
    values, vectors = torch.linalg.eigh(cov)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T
