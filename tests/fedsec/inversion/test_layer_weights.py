"""Weights of layers against values computed by hand, and their limits."""

from functools import partial
from math import e, inf, isfinite, log

import pytest
import torch

from fedsec.errors import SettingsError
from fedsec.inversion.layer_weights import (
    LAYER_WEIGHTS,
    by_module,
    by_threes,
    concave,
    inverse_deviation,
    inverse_mean,
    inverse_variance,
    linear,
    logarithmic,
    power,
    preserve,
    quadratic,
    ratio,
    uniform,
)

NORMED = ["c1.weight", "n1.weight", "n1.bias", "c2.weight", "n2.weight", "n2.bias", "fc.weight",
          "fc.bias"]  # fmt: skip


def ones(names):
    return {name: torch.ones(2) for name in names}


def layers(n):
    """n layers of two tensors, and the last one."""
    return ones([f"{k}.{part}" for k in range(n + 1) for part in ("weight", "bias")])


def of_groups(weights, n):
    """The weight of each layer, which its tensors share, and of the last."""
    for k in range(n + 1):
        assert weights[f"{k}.weight"] == weights[f"{k}.bias"]
    return [weights[f"{k}.weight"] for k in range(n + 1)]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (uniform, [1, 1, 1, 1]),
        (linear, [1, 1 + 19 / 3, 1 + 38 / 3, 20]),
        (logarithmic, [1, 1 + 19 / 2, 1 + 19 * log(3) / log(4), 20]),  # ln 2 / ln 4 is 1/2
        (quadratic, [1, 1 + 19 / 4, 1 + 19 * 9 / 16, 20]),
        (ratio, [1 + 19 / e**3, 1 + 19 / e**2, 1 + 19 / e, 20]),
        (partial(power, scale=2), [1 / 16, 4 / 16, 9 / 16, 1]),
        (concave, [1, 20, 20, 1]),
    ],
)
def test_shapes_are_those_of_the_formulas(rule, expected):
    found = of_groups(rule(layers(4)), 4)
    assert found[:4] == pytest.approx(expected)
    assert found[4] == pytest.approx(sum(expected) / 4)  # the last layer has the mean


def test_concave_is_logarithmic_up_to_the_middle():
    found = of_groups(concave(layers(5), scale=3), 5)
    half = 1 + 2 * log(2) / log(3)
    assert found[:5] == pytest.approx([1, half, 3, half, 1])


def test_groups_of_three_are_a_convolution_and_its_normalisation():
    found = linear(ones(NORMED), scale=3, groups=by_threes)
    assert list(found) == NORMED
    assert list(found.values()) == pytest.approx([1, 1, 1, 3, 3, 3, 2, 2])


def test_the_last_layer_has_the_mean_over_tensors():
    found = linear(ones(NORMED), scale=4)  # modules c1, n1, c2, n2
    assert list(found.values()) == pytest.approx([1, 2, 2, 3, 4, 4, 16 / 6, 16 / 6])


@pytest.mark.parametrize("n", range(1, 12))
@pytest.mark.parametrize("groups", [by_module, by_threes])
def test_groups_hold_every_tensor_before_the_last_layer_once(n, groups):
    names = list(layers(n))
    found = groups(names)
    assert all(found)
    assert [name for group in found for name in group] == names[:-2]


def test_a_bare_parameter_is_a_group_of_its_own():
    assert by_module(["scale", "shift", "0.weight", "0.bias"]) == [["scale"], ["shift"]]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (inverse_mean, [1 / 2, 1 / 4]),
        (inverse_variance, [1 / 6, 1 / 9]),
        (inverse_deviation, [6**-0.5, 1 / 3]),
    ],
)
def test_statistics_are_per_tensor(rule, expected):
    gradient = {
        "a.weight": torch.tensor([-2.0, 4.0, -2.0, 0.0]),  # mean 0, mean square 6
        "a.bias": torch.tensor([1.0, 7.0]),
        "b.weight": torch.tensor([9.0]),
    }
    assert list(rule(gradient).values()) == pytest.approx([*expected, sum(expected) / 2])


def test_a_tensor_of_zeros_gets_the_mean_of_the_others():
    gradient = {
        "a.weight": torch.full((2,), 2.0), "a.bias": torch.zeros(2),
        "b.weight": torch.full((2,), 4.0), "c.weight": torch.ones(1),
    }  # fmt: skip
    assert list(inverse_mean(gradient).values()) == pytest.approx([1 / 2, 3 / 8, 1 / 4, 3 / 8])


def test_preserve_divides_by_the_share_that_is_not_zero():
    gradient = layers(2)
    gradient["0.weight"] = torch.tensor([0.0, 1.0, 0.0, 0.0])
    gradient["1.bias"] = torch.zeros(3)
    gradient["2.weight"] = torch.tensor([0.0, 1.0])
    plain, kept = linear(gradient, scale=3), preserve(partial(linear, scale=3))(gradient)
    assert kept["0.weight"] == 4 * plain["0.weight"]
    for name in gradient.keys() - {"0.weight"}:
        assert kept[name] == plain[name]


@pytest.mark.parametrize("make", LAYER_WEIGHTS.values(), ids=LAYER_WEIGHTS)
@pytest.mark.parametrize("n", [0, 1, 2, 3, 150])
def test_every_rule_gives_weights_above_zero_that_single_precision_holds(make, n):
    gradient = layers(n)
    for k, value in enumerate(gradient.values()):
        value[0] = 0.5 * k  # so that tensors have a spread, but for one
    for rule in (make, preserve(make)):
        weights = rule(gradient)
        assert list(weights) == list(gradient)
        for weight in weights.values():
            assert weight > 0 and isfinite(weight)
            assert 0 < torch.tensor(weight, dtype=torch.float32) < inf


@pytest.mark.parametrize("scale", [0.5, -1, inf, float("nan")])
@pytest.mark.parametrize("rule", [linear, power])
def test_a_scale_below_one_is_refused(rule, scale):
    with pytest.raises(SettingsError, match="scale"):
        rule(layers(2), scale=scale)
