"""Which reconstruction is of which image? An attack on a batch cannot know the order.

The Hungarian method finds the assignment of least total cost. The cost of a pair is a function
`(found, truth) -> (found, truth)` that is passed in; scores are then taken of matched pairs.

mse_cost    total MSE: no image can have more than its share in the choice
psnr_cost   total PSNR, as high as can be, the default: the attack's best case. Where some images of
            a batch are rebuilt well and the rest not at all, total MSE now and then takes a good
            one from its truth to spare a bad one; total PSNR does not
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from fedsec.errors import DataError
from fedsec.metrics.images import pairwise_mse, pairwise_psnr

Cost = Callable[[Tensor, Tensor], Tensor]
"""(found c h w), (truth c h w) -> (found truth), lower is nearer."""


@dataclass(frozen=True, eq=False)
class Matching:
    """Pairs: reconstruction `found[k]` is scored against the true image `truth[k]`.

    As many as the smaller number, each index once, `truth` rising. Without a pair stay the rest of
    the reconstructions where there are more of those, or the rest of the true images.
    """

    found: Int[np.ndarray, " pair"]
    truth: Int[np.ndarray, " pair"]

    def __len__(self) -> int:
        return len(self.found)


def mse_cost(
    found: Float[Tensor, "found channel height width"],
    truth: Float[Tensor, "truth _channel _height _width"],
) -> Float[Tensor, "found truth"]:
    """Mean squared error of each pair."""
    return pairwise_mse(found, truth)


def psnr_cost(
    found: Float[Tensor, "found channel height width"],
    truth: Float[Tensor, "truth _channel _height _width"],
) -> Float[Tensor, "found truth"]:
    """PSNR of each pair, negated; an exact copy counts with 120 dB."""
    return -pairwise_psnr(found, truth)


def match(
    found: Float[Tensor, "found channel height width"],
    truth: Float[Tensor, "truth _channel _height _width"],
    *,
    cost: Cost = psnr_cost,
) -> Matching:
    """The pairs of least total cost.

    Spare reconstructions are left out, the worst ones of course: an attack that returns more images
    than there are guesses more often, so say how many it returned. Raises DataError where either
    has no images, a pixel is not finite, or the forms differ.
    """
    return assign(cost(found, truth).cpu().numpy())


def assign(cost: Float[np.ndarray, "found truth"]) -> Matching:
    """The pairs of least total cost of a matrix. Raises DataError where it is not finite."""
    if not np.isfinite(cost).all():
        row, column = np.argwhere(~np.isfinite(cost))[0]
        raise DataError(
            f"the cost of reconstruction {row} and true image {column} is {cost[row, column]}:"
            " costs must be finite"
        )
    rows, columns = linear_sum_assignment(cost)
    order = np.argsort(columns)
    return Matching(rows[order].astype(np.int64), columns[order].astype(np.int64))
