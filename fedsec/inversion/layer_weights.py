"""How much each layer counts in a weighted cosine (AGIC).

Shapes      rise with depth, constant within a group of tensors. Of group k = 0 .. K-1, scale s:
                linear  1 + (s-1) k / (K-1)              power    (k+1)^s
                log     1 + (s-1) ln(k+1) / ln K         ratio    1 + (s-1) e^k / e^(K-1)
                quad    1 + (s-1) (k+1)^2 / K^2, 1 of group 0
                concave 1 + (s-1) ln(m+1) / ln(M+1), where m = min(k, K-1-k) and M is the largest m
Statistics  of the observed gradient, tensor by tensor: 1 / mean |g|, 1 / variance, 1 / deviation.
Last layer  the fully connected one gets the mean of all tensors before it.
Source      the code that the authors of AGIC (arXiv 2204.13784) published with later papers; that
            they are AGIC's is inferred. "Concave" is known by its description only: log-shaped,
            mirrored, in [1, s].
Departures  `power` is divided by K^s: at s = 20 single precision overflows from some 80 groups on,
            and a cosine does not see a common factor. Where K = 1 leaves 0 / 0, the weight is 1.
            A layer is a group by default (`by_module`); the code takes three tensors (`by_threes`):
            weight of a convolution, weight and bias of its batch normalisation.

A rule is a function of the observed gradient by name, in the order of the network's parameters; it
gives a weight above 0 for each name. `LAYER_WEIGHTS` names the rules; other scales and groups by
`functools.partial`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log

from torch import Tensor

from fedsec.core.functional import Parameters
from fedsec.errors import SettingsError

Weights = dict[str, float]
LayerWeights = Callable[[Parameters], Weights]
Groups = Callable[[list[str]], list[list[str]]]
"""Names in order -> groups in order, without the last layer."""

SCALE = 20.0
LEAST = 1e-30  # a weight below it would be lost in single precision


def by_module(names: list[str]) -> list[list[str]]:
    """Tensors that share the name before the last dot."""
    groups: dict[str, list[str]] = {}
    for name in _before_last(names):
        groups.setdefault(_module(name), []).append(name)
    return list(groups.values())


def by_threes(names: list[str]) -> list[list[str]]:
    """Three tensors after another, as many as there are; the remainder joins the last group."""
    before = _before_last(names)
    n_groups = max(1, len(names) // 3)
    groups = [before[3 * k : 3 * k + 3] for k in range(n_groups)]
    groups[-1] += before[3 * n_groups :]
    return [group for group in groups if group]


def uniform(gradient: Parameters) -> Weights:
    """All alike: the plain cosine."""
    return dict.fromkeys(gradient, 1.0)


def linear(gradient: Parameters, scale: float | int = SCALE, groups: Groups = by_module) -> Weights:
    """From 1 to `scale` in equal steps."""
    return _shaped(gradient, groups, scale, lambda k, n: k / (n - 1) if n > 1 else 0.0)


def logarithmic(
    gradient: Parameters, scale: float | int = SCALE, groups: Groups = by_module
) -> Weights:
    """From 1 to `scale`, in ever smaller steps."""
    return _shaped(gradient, groups, scale, lambda k, n: log(k + 1) / log(n) if n > 1 else 0.0)


def quadratic(
    gradient: Parameters, scale: float | int = SCALE, groups: Groups = by_module
) -> Weights:
    """From 1 to `scale`, in ever larger steps."""
    return _shaped(gradient, groups, scale, lambda k, n: (k + 1) ** 2 / n**2 if k else 0.0)


def ratio(gradient: Parameters, scale: float | int = SCALE, groups: Groups = by_module) -> Weights:
    """Near 1 but for the last groups, which go up to `scale`."""
    return _shaped(gradient, groups, scale, lambda k, n: exp(k - n + 1))


def power(gradient: Parameters, scale: float | int = SCALE, groups: Groups = by_module) -> Weights:
    """The last group and the last layer, nearly alone: ((k+1) / K)^scale."""
    return _spread(gradient, groups, lambda k, n: ((k + 1) / n) ** _checked(scale))


def concave(
    gradient: Parameters, scale: float | int = SCALE, groups: Groups = by_module
) -> Weights:
    """From 1 up to `scale` in the middle, and back to 1."""

    def rise(k: int, n: int) -> float:
        top = (n - 1) // 2
        return log(min(k, n - 1 - k) + 1) / log(top + 1) if top else 0.0

    return _shaped(gradient, groups, scale, rise)


def inverse_mean(gradient: Parameters) -> Weights:
    """One over the mean magnitude of each tensor."""
    return _statistic(gradient, lambda value: value.abs().mean())


def inverse_variance(gradient: Parameters) -> Weights:
    """One over the variance of each tensor's entries (divided by their number)."""
    return _statistic(gradient, lambda value: value.var(correction=0))


def inverse_deviation(gradient: Parameters) -> Weights:
    """One over the standard deviation of each tensor's entries (divided by their number)."""
    return _statistic(gradient, lambda value: value.std(correction=0))


def preserve(rule: LayerWeights) -> LayerWeights:
    """For sparse updates: the rule's weight over the share of entries that are not zero.

    The last layer keeps its weight, as does a tensor of zeros only.
    """

    def preserving(gradient: Parameters) -> Weights:
        weights = rule(gradient)
        for name in _before_last(list(gradient)):
            n_left = int(gradient[name].count_nonzero())
            if n_left:
                weights[name] *= gradient[name].numel() / n_left
        return weights

    return preserving


LAYER_WEIGHTS: dict[str, LayerWeights] = {
    "uniform": uniform,
    "linear": linear,
    "log": logarithmic,
    "quad": quadratic,
    "ratio": ratio,
    "power": power,
    "concave": concave,
    "inverse-mean": inverse_mean,
    "inverse-variance": inverse_variance,
    "inverse-deviation": inverse_deviation,
}


def _shaped(
    gradient: Parameters, groups: Groups, scale: float | int, rise: Callable[[int, int], float]
) -> Weights:
    """1 + (scale - 1) * rise."""
    span = _checked(scale) - 1
    return _spread(gradient, groups, lambda k, n: 1 + span * rise(k, n))


def _spread(gradient: Parameters, groups: Groups, weight: Callable[[int, int], float]) -> Weights:
    """One weight for the tensors of a group, by its place and the number of groups."""
    found = groups(list(gradient))
    return _with_last(
        gradient,
        {
            name: max(weight(k, len(found)), LEAST)
            for k, group in enumerate(found)
            for name in group
        },
    )


def _statistic(gradient: Parameters, statistic: Callable[[Tensor], Tensor]) -> Weights:
    """One over it; where it is 0, as of zeros only, the mean of the others."""
    found = {
        name: float(statistic(gradient[name].detach().double()))
        for name in _before_last(list(gradient))
    }
    inverse = {name: 1 / value for name, value in found.items() if value > 0}
    mean = _mean(inverse)
    return _with_last(gradient, {name: inverse.get(name, mean) for name in found})


def _with_last(gradient: Parameters, weights: Weights) -> Weights:
    mean = _mean(weights)
    return {name: weights.get(name, mean) for name in gradient}


def _mean(weights: Weights) -> float:
    return sum(weights.values()) / len(weights) if weights else 1.0


def _before_last(names: list[str]) -> list[str]:
    """Without the tensors of the last module."""
    return [name for name in names if _module(name) != _module(names[-1])]


def _module(name: str) -> str:
    """What holds the tensor: one of the network itself stands alone."""
    return name.rpartition(".")[0] or name


def _checked(scale: float | int) -> float | int:
    if not 1 <= scale < float("inf"):
        raise SettingsError(f"scale = {scale}: give a number of at least 1")
    return scale
