"""How far what dummy images would have sent is from what was sent.

A distance is a function of the target that gives a function of the trial: what depends on the
target alone is computed once. Both are gradients by name. All distances are free of the gradient's
scale, or divided by it: a trained network's gradient can be orders of magnitude smaller than an
untrained one's, where the smallest steps of an optimiser would stall.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from fedsec.core.functional import Parameters, flatten

Against = Callable[[Parameters], Tensor]
Distance = Callable[[Parameters], Against]
"""target -> (trial -> a scalar, 0 where they agree)."""


def squared(target: Parameters) -> Against:
    """|trial - target|^2 / |target|^2 (DLG: Zhu, Liu, Han, 2019; the division is ours)."""
    wanted = flatten(target)
    scale = _or_one(wanted.square().sum())
    return lambda trial: (flatten_like(trial, target) - wanted).square().sum() / scale


def absolute(target: Parameters) -> Against:
    """|trial - target|_1 / |target|_1."""
    wanted = flatten(target)
    scale = _or_one(wanted.abs().sum())
    return lambda trial: (flatten_like(trial, target) - wanted).abs().sum() / scale


def cosine(target: Parameters) -> Against:
    """1 - cos(trial, target), in [0, 2] (Geiping et al., 2020). Of a zero trial it is 1."""
    wanted = flatten(target)
    wanted = wanted / _or_one(wanted.norm())

    def against(trial: Parameters) -> Tensor:
        found = flatten_like(trial, target)
        return 1 - found @ wanted / _length(found)

    return against


def weighted_cosine(weights: Mapping[str, float]) -> Distance:
    """The cosine with a weight above 0 for each tensor.

    sum_l w_l <a_l, b_l> / sqrt(sum_l w_l |a_l|^2 sum_l w_l |b_l|^2): the cosine of both, with each
    tensor times sqrt(w_l). So equal weights give `cosine`.
    """

    def distance(target: Parameters) -> Against:
        roots = {name: weights[name] ** 0.5 for name in target}
        factors = torch.cat(
            [torch.full_like(value, roots[name]).reshape(-1) for name, value in target.items()]
        )
        wanted = flatten(target) * factors
        wanted = wanted / _or_one(wanted.norm())

        def against(trial: Parameters) -> Tensor:
            found = flatten_like(trial, target) * factors
            return 1 - found @ wanted / _length(found)

        return against

    return distance


def flatten_like(tensors: Parameters, like: Parameters) -> Tensor:
    """One vector of all entries, in the order of other tensors' names."""
    return torch.cat([tensors[name].reshape(-1) for name in like])


def _or_one(scale: Tensor) -> Tensor:
    """A target without a gradient is not divided by anything."""
    return torch.where(scale > 0, scale, 1)


def _length(found: Tensor) -> Tensor:
    """The norm; its derivative at zero is zero."""
    return (found.square().sum() + torch.finfo(found.dtype).tiny).sqrt()
