"""What a client would have sent, had it held the dummy images: one function for each belief.

    at_start      the gradient of all images at the parameters sent: exact for FedSGD; for local
                  steps the approximation of AGIC
    simulated     the mean gradient of local steps, each differentiated through: exact where rate,
                  number and batches of the steps are right
    surrogate     the gradient at a point between the parameters sent and those returned; where on
                  the line is learnt too (SME: Zhu, Yao, Blaschko, 2023, Surrogate model extension)

All give a mean of gradients, so they compare with `case.delta_to_gradient`. The gradient operator
is an argument: `descended_gradient` for one restart, `torch.func`'s for many at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from fedsec.core.functional import Parameters, gradient
from fedsec.core.twice import ConstantParameters
from fedsec.errors import SettingsError
from fedsec.inversion.victim import Loss

Variables = dict[str, Tensor]
"""What is optimised: "x", the images, and whatever else a trial or a label rule learns."""

GradientOf = Callable[[Loss, Parameters, Tensor, Any], Parameters]
Trial = Callable[[Loss, Parameters, Variables, Any, GradientOf], Parameters]
"""(loss, parameters sent, variables, labels, gradient operator) -> what would have been sent.

In place of the labels stands whatever else the victim's loss depends on."""

ALPHA = "alpha"


def plain_gradient(loss: Loss, parameters: Parameters, x: Tensor, extra: Any) -> Parameters:
    """By autograd, with a graph of its own; the parameters must track gradients."""
    return gradient(loss(parameters, x, extra), parameters, differentiable=True)


def descended_gradient() -> GradientOf:
    """As `plain_gradient`, for a descent by the images: in its graph leaf parameters are constants.

    All calls are of one network and one form of images: where the first finds no layer that gains
    from it (`core.twice`), the others do not look.
    """
    gains = True

    def descended(loss: Loss, parameters: Parameters, x: Tensor, extra: Any) -> Parameters:
        nonlocal gains
        if not gains or not all(value.is_leaf for value in parameters.values()):
            return plain_gradient(loss, parameters, x, extra)
        with ConstantParameters(x) as layers:
            value = loss(parameters, x, extra)
        gains = layers.gained
        return gradient(value, parameters, differentiable=True)

    return descended


def functional_gradient(loss: Loss, parameters: Parameters, x: Tensor, extra: Any) -> Parameters:
    """By `torch.func.grad`: it can be vmapped."""
    found: Parameters = torch.func.grad(loss)(parameters, x, extra)
    return found


def at_start(
    loss: Loss, parameters: Parameters, variables: Variables, labels: Any, gradient: GradientOf
) -> Parameters:
    """The gradient of all images at the parameters sent."""
    return gradient(loss, parameters, variables["x"], labels)


def simulated(lr: float, batches: Sequence[Sequence[int]]) -> Trial:
    """Steps of SGD on batches of the images, by their indices, with all graphs kept.

    Raises SettingsError where there is no batch, or the rate is not above 0.
    """
    if not batches or not all(batches):
        raise SettingsError("a simulation needs one batch or more, and an image in each")
    if not 0 < lr < float("inf"):
        raise SettingsError(f"lr = {lr}: a simulation needs the client's learning rate, above 0")
    rows = [torch.tensor(batch) for batch in batches]

    def trial(
        loss: Loss, parameters: Parameters, variables: Variables, labels: Tensor,
        gradient: GradientOf,
    ) -> Parameters:  # fmt: skip
        x, weights, total = variables["x"], parameters, None
        for step, row in enumerate(rows):
            row = row.to(x.device)
            slopes = gradient(loss, weights, x[row], labels[row])
            total = (
                slopes
                if total is None
                else {name: value + slopes[name] for name, value in total.items()}
            )
            if step + 1 < len(rows):
                weights = {name: value - lr * slopes[name] for name, value in weights.items()}
        assert total is not None
        return {name: value / len(rows) for name, value in total.items()}

    return trial


def surrogate(change: Parameters) -> Trial:
    """The gradient at `sent + alpha * change`, where `change` is the client's delta.

    `variables["alpha"]`, a scalar, is learnt; it is held in [0, 1].
    """

    def trial(
        loss: Loss, parameters: Parameters, variables: Variables, labels: Tensor,
        gradient: GradientOf,
    ) -> Parameters:  # fmt: skip
        alpha = variables[ALPHA].clamp(0, 1)
        between = {name: value + alpha * change[name] for name, value in parameters.items()}
        return gradient(loss, between, variables["x"], labels)

    return trial
