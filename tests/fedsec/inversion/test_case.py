"""Cases refuse what cannot be attacked, and say which tensor."""

from dataclasses import replace

import pytest
import torch

from fedsec.core.record import Knowledge, Update
from fedsec.errors import SettingsError, UpdateError
from fedsec.inversion.case import Case, Observed, delta_to_gradient
from tests.fedsec.inversion.cases import digits, of_gradient, of_local_steps, smooth_net

CASE = of_gradient(smooth_net(), digits([0, 1]))
UPDATE = CASE.observed[0].update


def with_update(update: Update) -> Case:
    return replace(CASE, observed=(Observed(CASE.victim.parameters, update),))


def test_a_missing_a_strange_and_a_misshapen_tensor_are_named() -> None:
    tensors = dict(UPDATE.tensors)
    weight = tensors.pop("5.weight")
    with pytest.raises(UpdateError, match="client 0, round 1, does not fit .* without 5.weight"):
        with_update(replace(UPDATE, tensors=tensors))
    with pytest.raises(UpdateError, match="with more, which it has not"):
        with_update(replace(UPDATE, tensors={**UPDATE.tensors, "more": weight}))
    with pytest.raises(UpdateError, match="'5.weight' is 96 x 10, and 10 x 96 in the network"):
        with_update(replace(UPDATE, tensors={**UPDATE.tensors, "5.weight": weight.T}))
    with pytest.raises(UpdateError, match="'5.weight' is torch.int64, no floating point"):
        with_update(replace(UPDATE, tensors={**UPDATE.tensors, "5.weight": weight.long()}))


def test_an_update_that_is_not_finite_is_refused() -> None:
    bad = UPDATE.tensors["5.bias"].clone()
    bad[3] = torch.nan
    with pytest.raises(UpdateError, match="1 of 10 entries of '5.bias' are not finite"):
        with_update(replace(UPDATE, tensors={**UPDATE.tensors, "5.bias": bad}))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"observed": ()}, "no round was observed"),
        ({"n": 0}, "n = 0: give the number"),
        ({"knowledge": Knowledge(labels=(1, 2, 3))}, "3 labels are known of 2 images"),
        ({"knowledge": Knowledge(labels=(1, 10))}, "give classes from 0 to 9"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, object], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        replace(CASE, **changed)  # type: ignore[arg-type]


def test_a_change_is_minus_the_rate_times_the_sum_of_gradients() -> None:
    images = digits([0, 1])
    case = of_local_steps(smooth_net(), images, 0.2, [(0, 1)])
    found = delta_to_gradient(case.observed[0].update, case.knowledge)
    for name, value in of_gradient(smooth_net(), images).observed[0].update.tensors.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12)
    unknown = delta_to_gradient(case.observed[0].update, Knowledge())
    torch.testing.assert_close(unknown["5.bias"], 0.2 * found["5.bias"])


def test_a_gradient_is_itself() -> None:
    assert delta_to_gradient(UPDATE, CASE.knowledge) is UPDATE.tensors


def test_a_rate_must_be_above_zero() -> None:
    with pytest.raises(SettingsError, match="both must be above 0"):
        delta_to_gradient(replace(UPDATE, kind="delta"), Knowledge(lr=-1.0))
