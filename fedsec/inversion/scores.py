"""How well reconstructions show the true images, and what a guess without any gradient would score.

Reconstructions come in no order, so they are matched first (`fedsec.metrics.matching`). Scores are
by true image. One without a reconstruction is scored against nothing: NaN where there is a distance
or a rank, which medians and means leave out; but it counts as not re-identified and not reached in
every share, so that an attack gains nothing there by returning fewer images. Spare reconstructions
are left out, which favours the attack: `n_found` says how many there were.

An attack that does not beat the mean image has shown nothing. The mean of a training set has a
fair PSNR against all of its images, and needs no update; so has the mean of a class, for who knows
the label. Nor has one that does not beat random images: each alone is twice as far as the mean, but
of many the matching picks the near ones, and in a batch they may come nearer than the mean does.
`controls` scores such guesses on the same footing, and every score should stand beside the best of
them. Re-identification has its control there too: random images come to chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fedsec.data.images import Images
from fedsec.errors import DataError, SettingsError
from fedsec.metrics.features import FeatureNet
from fedsec.metrics.identification import identify
from fedsec.metrics.images import mse, psnr, ssim, window_for
from fedsec.metrics.matching import Cost, match, psnr_cost

LEGIBLE = (19, 20, 25)  # dB, above which papers call an image recovered


@dataclass(frozen=True, eq=False, kw_only=True)
class Scores:
    """Of each true image, in their order; NaN, or False, where it has no reconstruction.

    match_of           index of its reconstruction, -1 for none
    psnr               dB, peak 1, at most 120
    ssim               with a Gaussian window of side `window`
    mse                of images clamped to [0, 1]
    feature_distance   NaN where no features were given
    rank               of the true image among the population by pixel distance, 1 the nearest
    reidentified       whether the rank is 1; None where no population was given, as is `rank`
    label_correct      whether the label found with it is right; None where none was
    n_found            reconstructions that were returned
    n_population       images that the rank is among
    features           name of the features
    """

    match_of: Int[np.ndarray, " truth"]
    psnr: Float[np.ndarray, " truth"]
    ssim: Float[np.ndarray, " truth"]
    mse: Float[np.ndarray, " truth"]
    feature_distance: Float[np.ndarray, " truth"]
    rank: Float[np.ndarray, " truth"] | None
    reidentified: Bool[np.ndarray, " truth"] | None
    label_correct: Bool[np.ndarray, " truth"] | None
    window: int
    n_found: int
    n_population: int | None
    features: str | None

    def summary(self) -> dict[str, Any]:
        """Plain numbers, ready for JSON; None for what was not asked, or has no value.

        Medians and means are over the true images that have a reconstruction, shares over all. The
        mean PSNR is that of the images' PSNR. Medians are the safer ones where some runs fail.
        """
        found: dict[str, Any] = {
            "n_truth": len(self.mse),
            "n_found": self.n_found,
            "n_matched": int((self.match_of >= 0).sum()),
            "n_population": self.n_population,
            "ssim_window": self.window,
            "features": self.features,
        }
        for name in ("psnr", "ssim", "mse", "feature_distance", "rank"):
            values = getattr(self, name)
            there = np.empty(0) if values is None else values[~np.isnan(values)]
            for what, of in (("median", np.median), ("mean", np.mean)):
                found[f"{name}_{what}"] = float(of(there)) if len(there) else None
        for least in LEGIBLE:
            found[f"share_psnr_above_{least}"] = float((self.psnr > least).mean())
        for name, hits in (
            ("reidentified", self.reidentified),
            ("labels_correct", self.label_correct),
        ):
            found[f"share_{name}"] = None if hits is None else float(hits.mean())
        return found


def score(
    found: Float[Tensor, "found channel height width"],
    truth: Float[Tensor, "truth _channel _height _width"],
    *,
    population: Images | None = None,
    features: FeatureNet | None = None,
    found_labels: Int[Tensor, " found"] | None = None,
    true_labels: Int[Tensor, " truth"] | None = None,
    cost: Cost = psnr_cost,
) -> Scores:
    """Match the reconstructions to the true images by `cost`, and score each pair.

    `population` is the whole training set, for re-identification by pixel distance. Labels are
    compared where both kinds are given, along the same pairs. Raises DataError where images are
    missing, not finite, or not of one form.
    """
    truth = truth.to(found.device)
    pairs = match(found, truth, cost=cost)
    a = found[torch.as_tensor(pairs.found, device=found.device)]
    b = truth[torch.as_tensor(pairs.truth, device=found.device)]

    def placed(values: Tensor | np.ndarray) -> np.ndarray:
        """By true image, NaN for those without a pair."""
        out = np.full(len(truth), np.nan)
        out[pairs.truth] = torch.as_tensor(values).cpu().numpy()
        return out

    match_of = np.full(len(truth), -1)
    match_of[pairs.truth] = pairs.found
    rank = None if population is None else placed(identify(a, b, population.x).rank)
    apart = np.full(len(pairs), np.nan) if features is None else features.distance(a, b)
    return Scores(
        match_of=match_of,
        psnr=placed(psnr(a, b)),
        ssim=placed(ssim(a, b)),
        mse=placed(mse(a, b)),
        feature_distance=placed(apart),
        rank=rank,
        reidentified=None if rank is None else rank == 1,
        label_correct=_labels_correct(match_of, found_labels, true_labels),
        window=window_for(*truth.shape[2:]),
        n_found=len(found),
        n_population=None if population is None else len(population),
        features=None if features is None else features.name,
    )


def controls(
    truth: Float[Tensor, "truth _channel _height _width"],
    population: Images,
    *,
    generator: torch.Generator,
    n: int | None = None,
    features: FeatureNet | None = None,
    true_labels: Int[Tensor, " truth"] | None = None,
    cost: Cost = psnr_cost,
) -> dict[str, Scores]:
    """Scores of guesses that use no update: "mean_image", "random_images", "class_mean_images".

    The last, for who knows the labels, only where they are given. `n` guesses are made, as many as
    the attack returned; without it as many as there are true images. The population holds the true
    images, so a random image hits one by chance, at a rate of 1 in its size.
    """
    n = len(truth) if n is None else n
    guesses = {
        "mean_image": mean_image(population, n),
        "random_images": random_images(population, n, generator),
    }
    if true_labels is not None:
        guesses["class_mean_images"] = class_mean_images(population, true_labels)
    return {
        name: score(guess, truth, population=population, features=features, cost=cost)
        for name, guess in guesses.items()
    }


def mean_image(images: Images, n: int) -> Float[Tensor, "sample channel height width"]:
    """The mean of all images, n times."""
    _check(images, n)
    return _mean(images.x)[None].repeat(n, 1, 1, 1)


def class_mean_images(
    images: Images, labels: Int[Tensor, " sample"]
) -> Float[Tensor, "sample channel height width"]:
    """For each label the mean of the images of its class."""
    _check(images, len(labels))
    means = {}
    for label in labels.unique().tolist():
        of_class = images.x[images.y == label]
        if not len(of_class):
            raise DataError(f"the population has no image of class {label}: give the training set")
        means[label] = _mean(of_class)
    return torch.stack([means[label] for label in labels.tolist()])


def random_images(
    images: Images, n: int, generator: torch.Generator
) -> Float[Tensor, "sample channel height width"]:
    """n different ones of the images, drawn evenly."""
    _check(images, n)
    if n > len(images):
        raise DataError(f"{n} different images are asked for, and there are {len(images)}")
    drawn = torch.randperm(len(images), generator=generator, device=generator.device)[:n]
    return images.x[drawn.to(images.x.device)]


def _mean(x: Tensor) -> Tensor:
    return x.mean(dim=0, dtype=torch.float64).to(x)


def _check(images: Images, n: int) -> None:
    if n < 1:
        raise SettingsError(f"n = {n}: give at least 1 image")
    if not len(images):
        raise DataError("there are no images to guess from")


def _labels_correct(
    match_of: Int[np.ndarray, " truth"], found: Tensor | None, true: Tensor | None
) -> Bool[np.ndarray, " truth"] | None:
    if found is None or true is None:
        return None
    said = found.cpu().numpy()[match_of]  # -1 takes the last one, which is then not counted
    correct: np.ndarray = (said == true.cpu().numpy()) & (match_of >= 0)
    return correct
