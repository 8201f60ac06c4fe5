"""DP-SGD: local training that hides any single sample of a client.

Story   in every step each sample is in the batch with probability `sample_rate`, independently
        (Poisson sampling). Its gradient is clipped to L2 norm `norm`; the sum of the clipped
        gradients gets noise N(0, (noise_multiplier norm)^2), is divided by the expected batch
        size, and moves the parameters by plain SGD. Epsilon follows from the settings alone.
Promise (epsilon, delta)-DP of the parameters sent, for data sets that differ by one sample, present
        or absent; how many samples there are is taken to be public. `GaussianNoise` hides a client;
        this hides a sample of one, from the server too.
Paper   Abadi et al. (2016), Deep learning with differential privacy, CCS, algorithm 1.
Code    Opacus: `GradSampleModule` for the per-sample gradients, `DPOptimizer` for clipping and
        noise. Batches are ours, so that one generator decides all.

A layer must not mix the samples of a batch, nor keep statistics of them: batch normalisation is
refused. The memory is that of one gradient for each sample of a batch. The generator is a good one
for simulations, and no cryptographic one: a deployment must seed it from the system's entropy and
keep the seed secret.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from fedsec.core.functional import State, load_state
from fedsec.core.record import Update
from fedsec.errors import DataError, SettingsError
from fedsec.federated.privacy.accounting import Accountant, epsilon, prv

SampleLoss = Callable[[Tensor, Tensor], Tensor]  # (outputs, y) -> (batch,), a sample each


@dataclass(frozen=True, kw_only=True)
class PrivateSGD:
    """Settings of DP-SGD.

    lr                learning rate, greater than 0
    steps             optimiser steps, at least 1
    sample_rate       probability of a sample to be in a batch, in (0, 1]
    norm              L2 norm that a sample's gradient is clipped to, greater than 0
    noise_multiplier  standard deviation of the noise on the sum, in units of `norm`, at least 0
    delta             that epsilon is reported at; in (0, 1), well below one over the samples
    """

    lr: float = 0.1
    steps: int = 100
    sample_rate: float = 0.1
    norm: float = 1.0
    noise_multiplier: float = 1.0
    delta: float = 1e-5

    def __post_init__(self) -> None:
        if not (self.lr > 0 and self.norm > 0):
            raise SettingsError(f"DP-SGD: lr {self.lr} and norm {self.norm} must be positive")
        if self.steps < 1:
            raise SettingsError(f"DP-SGD: {self.steps} steps; at least 1 is needed")

    def epsilon(self, accountant: Accountant = prv) -> float:
        """What these settings spend. Raises SettingsError where one is out of its range."""
        return epsilon(self.noise_multiplier, self.sample_rate, self.steps, self.delta, accountant)


def cross_entropy(
    logits: Float[Tensor, "batch class"], y: Int[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """The loss of each sample, in nats."""
    return functional.cross_entropy(logits, y, reduction="none")


def train_private(
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
    accountant: Accountant = prv,
) -> tuple[Update, float]:
    """Train one client from `state`; the update (kind "delta") to send, and epsilon.

    The network and the state are left alone. `x`, `y` and the generator are on one device, and the
    update is there too. The same generator state gives the same update, bit for bit (on a GPU, if
    its kernels are deterministic). `loss` gives the loss of each sample and mixes none.

    Raises SettingsError where a layer cannot be trained this way, or epsilon cannot be computed;
    DataError where the client has no samples; UpdateError where training diverged.
    """
    if len(x) == 0:
        raise DataError(f"client {client} has no samples: leave it out")
    spent = settings.epsilon(accountant)
    received = state.to(x.device)
    own = load_state(deepcopy(net).to(x.device), received).train()
    _descend(refuse_unfit_layers(own), x, y, generator, settings, loss)
    trained = dict(own.named_parameters())
    tensors = {name: trained[name].detach() - value for name, value in received.parameters.items()}
    return Update("delta", tensors, round, client, n=len(x)).checked(), spent


def poisson_batch(
    n_samples: int, sample_rate: float, generator: torch.Generator
) -> Int[Tensor, " batch"]:
    """Indices of the samples in a batch, each in with probability `sample_rate`; may be empty."""
    chance = torch.rand(
        n_samples, generator=generator, device=generator.device, dtype=torch.float64
    )
    return (chance < sample_rate).nonzero().squeeze(1)


def refuse_unfit_layers(net: nn.Module) -> nn.Module:
    """The network. Raises SettingsError that names a layer which mixes samples or draws itself."""
    for name, module in net.named_modules():
        kind = type(module).__name__
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise SettingsError(
                f"layer {name!r} is {kind}, which mixes the samples of a batch, so that no sample"
                f" has a gradient of its own; put nn.GroupNorm(groups, {module.num_features}) in"
                " its place"
            )
        if (
            isinstance(module, nn.modules.instancenorm._InstanceNorm)
            and module.running_mean is not None
        ):
            raise SettingsError(
                f"layer {name!r} is {kind} with running statistics, which noise does not cover; use"
                " track_running_stats=False, or nn.GroupNorm"
            )
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            raise SettingsError(
                f"layer {name!r} is {kind}, which draws from torch's global generator, so that a"
                " run could not be repeated; set its p to 0: clipping and noise regularise already"
            )
    return net


def _descend(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    generator: torch.Generator,
    settings: PrivateSGD,
    loss: SampleLoss,
) -> None:
    """Train the network in place (algorithm 1 of the paper)."""
    wrapped, optimizer = _with_opacus(net, len(x), generator, settings)
    for _ in range(settings.steps):
        optimizer.zero_grad()
        batch = poisson_batch(len(x), settings.sample_rate, generator)
        if len(batch):
            inputs = x[batch].requires_grad_()  # Opacus's hook of the first layer wants that
            losses = loss(wrapped(inputs), y[batch])
            if losses.shape != batch.shape:
                raise SettingsError(
                    f"the loss has shape {tuple(losses.shape)}, not one entry for each of"
                    f" {len(batch)} samples; use reduction='none'"
                )
            losses.sum().backward()
        else:  # no sample, but noise all the same
            for parameter in optimizer.params:
                parameter.grad_sample = parameter.new_zeros((0, *parameter.shape))
        optimizer.step()
    wrapped.to_standard_module()


def _with_opacus(
    net: nn.Module, n_samples: int, generator: torch.Generator, settings: PrivateSGD
) -> tuple[Any, Any]:
    """The network with per-sample gradients, and the optimiser that clips them and adds noise."""
    try:
        from opacus import GradSampleModule
        from opacus.optimizers import DPOptimizer
        from opacus.validators import ModuleValidator
    except ImportError as error:
        raise ImportError("DP-SGD needs opacus: pip install 'crowdlearn[dp]'") from error
    unfit = ModuleValidator.validate(net) + GradSampleModule.validate(net)
    if unfit:
        raise SettingsError(
            f"this network has no per-sample gradients: {'; '.join(map(str, unfit))}"
            " opacus.validators.ModuleValidator.fix replaces some layers"
        )
    optimizer = DPOptimizer(
        torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=settings.lr),
        noise_multiplier=settings.noise_multiplier,
        max_grad_norm=settings.norm,
        expected_batch_size=settings.sample_rate * n_samples,
        generator=generator,
    )
    return GradSampleModule(net, loss_reduction="sum"), optimizer
