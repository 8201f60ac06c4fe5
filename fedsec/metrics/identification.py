"""Re-identification: could somebody who holds the whole training set say whose image this is?

For each reconstruction the images of the population (the training set) are ordered by distance. The
rank of the true image is 1 plus the number of those that are nearer; at rank 1 it is re-identified.
A blurred image can have a poor PSNR and rank 1, so this is nearer to harm than PSNR is. Chance is
1 / (size of the population).

Duplicates    images of the population that equal the true one (their pixels differ by less than
              1e-5, root mean square) are the true one: each is a hit, and none counts as nearer
Ties          an image must be nearer by more than a millionth of the distance to count as nearer
Outsiders     a true image that is not in the population competes all the same, as if it were added

Distances are those of pixels, of images as shown (clamped to [0, 1]); or of features, where a
function `(sample c h w) -> (sample, feature)` is given, such as `FeatureNet.features`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fedsec.errors import DataError, SettingsError
from fedsec.metrics.images import refuse_unusable, shown, squared_distances

Features = Callable[[Tensor], Tensor]

EQUAL = 1e-5  # a grey level is 4e-3
TIE = 1e-6  # of the squared distance, so half as much of the distance


@dataclass(frozen=True, eq=False)
class Identification:
    """Where the true image stands among those of the population, for each reconstruction.

    rank      1 is the nearest
    nearest   index in the population of the image that is nearest to the reconstruction
    """

    rank: Int[np.ndarray, " sample"]
    nearest: Int[np.ndarray, " sample"]

    @property
    def reidentified(self) -> Bool[np.ndarray, " sample"]:
        """Whether no other image is nearer than the true one."""
        return self.rank == 1


def identify(
    found: Float[Tensor, "sample channel height width"],
    truth: Float[Tensor, "_sample _channel _height _width"],
    population: Float[Tensor, "population _channel _height _width"],
    *,
    features: Features | None = None,
    batch: int = 1024,
) -> Identification:
    """Rank each true image by its distance to its reconstruction, `found[i]` of `truth[i]`.

    `batch` images of the population are looked at at a time, on the device of `found`, so that the
    population may lie elsewhere. Raises DataError where images cannot be compared.
    """
    _check(found, truth, population, batch)
    embed = _pixels if features is None else features
    guess, truth = embed(found).double(), truth.to(found.device)
    own = (guess - embed(truth).double()).square().sum(dim=1)
    itself = EQUAL**2 * truth[0].numel()
    rank = torch.ones(len(found), dtype=torch.int64, device=guess.device)
    least = torch.full_like(own, torch.inf)
    nearest = torch.zeros_like(rank)
    for start in range(0, len(population), batch):
        chunk = population[start : start + batch].to(found.device)
        refuse_unusable(chunk, f"population, from {start} on")
        distance = squared_distances(guess, embed(chunk).double())
        nearer = distance < own[:, None] * (1 - TIE)
        other = squared_distances(_pixels(truth), _pixels(chunk)) > itself
        rank += (nearer & other.to(nearer.device)).sum(dim=1)
        here, where = distance.min(dim=1)
        nearest = torch.where(here < least, start + where, nearest)
        least = torch.minimum(here, least)
    return Identification(rank.cpu().numpy(), nearest.cpu().numpy())


def _pixels(x: Tensor) -> Tensor:
    return shown(x).flatten(1).double()


def _check(found: Tensor, truth: Tensor, population: Tensor, batch: int) -> None:
    if batch < 1:
        raise SettingsError(f"batch = {batch}: give at least 1")
    if found.shape != truth.shape or found.shape[1:] != population.shape[1:]:
        raise DataError(
            f"reconstructions {tuple(found.shape)}, true images {tuple(truth.shape)} and population"
            f" {tuple(population.shape)}: give pairs, and images of one form"
        )
    if not len(population):
        raise DataError("the population is empty: give the training set")
    refuse_unusable(found, "reconstructions")
    refuse_unusable(truth, "true images")
