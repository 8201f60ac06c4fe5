"""How far what dummy images would have sent is from what was sent.

Rows        a distance is a function of the target that gives a function of the trial: what depends
            on the target alone is computed once. A trial is a row of all its entries for each
            restart (`row_of`, `rows_of`), which a distance may write over. A target is tensors by
            name with a first dimension of rows: one for all restarts (`as_row`), or one for each.
            The answer is a loss a row, and no row depends on another.
Scale       all distances are free of the gradient's scale, or divided by it: a trained network's
            gradient can be orders of magnitude smaller than an untrained one's, where the smallest
            steps of an optimiser would stall.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from fedsec.core.functional import Parameters

Rows = Float[Tensor, "row entry"]
Against = Callable[[Rows], Float[Tensor, " row"]]
Distance = Callable[[Parameters], Against]
"""target -> (trial -> a loss a row, 0 where they agree)."""


def squared(target: Parameters) -> Against:
    """|trial - target|^2 / |target|^2 (DLG: Zhu, Liu, Han, 2019; the division is ours)."""
    wanted = rows_of(target, target)
    scale = _or_one(wanted.square().sum(1))
    return lambda trial: (trial - wanted).square().sum(1) / scale


def absolute(target: Parameters) -> Against:
    """|trial - target|_1 / |target|_1."""
    wanted = rows_of(target, target)
    scale = _or_one(wanted.abs().sum(1))
    return lambda trial: (trial - wanted).abs().sum(1) / scale


def cosine(target: Parameters) -> Against:
    """1 - cos(trial, target), in [0, 2] (Geiping et al., 2020). Of a zero trial it is 1."""
    wanted = _of_length_one(rows_of(target, target))
    return lambda trial: _one_less_cosine(trial, wanted)


def weighted_cosine(weights: Mapping[str, float]) -> Distance:
    """The cosine with a weight above 0 for each tensor.

    sum_l w_l <a_l, b_l> / sqrt(sum_l w_l |a_l|^2 sum_l w_l |b_l|^2): the cosine of both, with each
    tensor times sqrt(w_l). So equal weights give `cosine`.
    """

    def distance(target: Parameters) -> Against:
        roots = {
            name: torch.full_like(value[:1], weights[name] ** 0.5) for name, value in target.items()
        }
        factors = rows_of(roots, target)
        wanted = _of_length_one(rows_of(target, target) * factors)
        return lambda trial: _one_less_cosine(trial * factors, wanted)

    return distance


def as_row(tensors: Parameters) -> Parameters:
    """The same as one row."""
    return {name: value[None] for name, value in tensors.items()}


def row_of(tensors: Parameters, like: Parameters) -> Float[Tensor, "1 entry"]:
    """All entries as one row, in the order of other tensors' names; memory of its own."""
    return torch.cat([tensors[name].reshape(-1) for name in like])[None]


def rows_of(tensors: Parameters, like: Parameters) -> Rows:
    """The same of tensors with a first dimension of rows."""
    values = [tensors[name] for name in like]
    return torch.cat([value.reshape(len(value), prod(value.shape[1:])) for value in values], dim=1)


class _OneLessCosine(torch.autograd.Function):
    """1 - cosine of rows with rows of length one; of a zero row it is 1.

    Half the square of what is between two points of the unit sphere: without the cancellation by
    which single precision cannot tell angles below 3e-4 apart. With d = trial / |trial| - wanted
    the slope is (d (1 - |d|^2 / 2) - wanted |d|^2 / 2) / |trial|. Both d and the slope are
    written over the trial, where autograd would make five tensors of that size.
    """

    @staticmethod
    def forward(ctx: Any, trial: Tensor, wanted: Tensor) -> Tensor:
        least = torch.finfo(trial.dtype).tiny ** 0.5
        length = torch.linalg.vector_norm(trial, dim=1, keepdim=True).clamp_(min=least)
        between = trial.detach().div_(length).sub_(wanted)
        half = torch.linalg.vector_norm(between, dim=1, keepdim=True).square_().mul_(0.5)
        ctx.between = between
        ctx.save_for_backward(wanted, length, half)
        return torch.where(length > least, half, 1).squeeze(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        wanted, length, half = ctx.saved_tensors
        between, ctx.between = ctx.between, None
        if between is None:
            raise RuntimeError("this cosine has been differentiated, which can be done once")
        scale = slope[:, None] / length
        along = scale * half
        return between.mul_(scale - along).addcmul_(wanted, along, value=-1), None


def _one_less_cosine(trial: Rows, wanted: Float[Tensor, "target entry"]) -> Float[Tensor, " row"]:
    found: Tensor = _OneLessCosine.apply(trial, wanted)
    return found


def _of_length_one(rows: Rows) -> Rows:
    return rows / _or_one(rows.norm(dim=1, keepdim=True))


def _or_one(scale: Tensor) -> Tensor:
    """A target without a gradient is not divided by anything."""
    return torch.where(scale > 0, scale, 1)
