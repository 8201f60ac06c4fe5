"""One gradient by DP-SGD: what the server sees of a client that sends gradients.

Story   the gradient of each sample is clipped to L2 norm `norm`; their sum gets noise
        N(0, (noise_multiplier norm)^2) and is divided by the number of samples.
Paper   Abadi et al. (2016), Deep learning with differential privacy, CCS, algorithm 1: one step
        that every sample is in.
Of one sample it is the same as `GaussianNoise` with this norm and multiplier.

`train_private` is the whole training, and its change of parameters after one step with
`sample_rate=1` is -lr times this, up to rounding. This one is computed by `torch.func`, needs no
Opacus, and loses no digits to the subtraction.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from fedsec.core.functional import Parameters, State
from fedsec.core.record import Update
from fedsec.errors import DataError
from fedsec.federated.privacy.laws import gaussian, with_noise
from fedsec.federated.privacy.per_sample import (
    PrivateSGD,
    SampleLoss,
    cross_entropy,
    refuse_unfit_layers,
)


def private_gradient(
    net: nn.Module,
    state: State,
    x: Float[Tensor, "sample ..."],
    y: Int[Tensor, " sample"],
    generator: torch.Generator,
    *,
    settings: PrivateSGD,
    round: int,
    client: int,
    loss: SampleLoss = cross_entropy,
) -> Update:
    """The update (kind "gradient") of a client that holds these samples.

    Of the settings `norm` and `noise_multiplier` count; its epsilon is that of sample rate 1.
    Raises as `train_private` does.
    """
    if len(x) == 0:
        raise DataError(f"client {client} has no samples: leave it out")
    per_sample = per_sample_gradients(refuse_unfit_layers(net), state, x, y, loss)
    total = sum_of_clipped(per_sample, settings.norm)
    noisy = with_noise(total, settings.noise_multiplier * settings.norm, gaussian, generator)
    tensors = {name: value / len(x) for name, value in noisy.items()}
    return Update("gradient", tensors, round, client, n=len(x)).checked()


def per_sample_gradients(
    net: nn.Module,
    state: State,
    x: Float[Tensor, "sample ..."],
    y: Int[Tensor, " sample"],
    loss: SampleLoss = cross_entropy,
) -> Parameters:
    """The gradient of every sample's own loss: tensors (sample, ...) by name."""

    def of_one(parameters: Parameters, x: Tensor, y: Tensor) -> Tensor:
        outputs = functional_call(net, (parameters, state.buffers), (x[None],))
        return loss(outputs, y[None]).squeeze(0)

    parameters = {name: value.detach() for name, value in state.parameters.items()}
    found: Parameters = vmap(grad(of_one), in_dims=(None, 0, 0))(parameters, x, y)
    return found


def sum_of_clipped(per_sample: Parameters, norm: float) -> Parameters:
    """The sum over samples, each scaled so that all its entries together have at most this norm."""
    rows = [value.double().reshape(len(value), -1) for value in per_sample.values()]
    norms = torch.stack([row.square().sum(dim=1) for row in rows]).sum(dim=0).sqrt()
    factor = norm / norms.clamp_min(norm)
    return {
        name: torch.tensordot(factor.to(value.dtype), value, dims=1)
        for name, value in per_sample.items()
    }
