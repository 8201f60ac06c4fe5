"""How a generator of images is trained with a copy, without asking the victim anything.

Statistics   the generator is in training mode always, so a batch is normalised by itself; the copy
             is in evaluation mode while it only passes gradients on. Mixed ones leave a copy that
             knows its own batches alone.
Papers       MEGA (arXiv 2202.00008) for the confidence; DFMS-HL and DisGUIDE for the batch entropy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fedsec.stealing.parts import confidence_of
from fedsec.stealing.substitute import label_loss

GeneratorLoss = Callable[[Tensor, Tensor], Tensor]
"""(logits of the copy, rows of the pool) -> mean loss."""

CHUNK = 1000  # codes that are made into images at once


def mega_generator_loss(
    logits: Float[Tensor, "sample class"], confidence: float | int = 1.0
) -> Float[Tensor, ""]:
    """(M3): -confidence * mean log of the largest probability, by log-softmax."""
    return -confidence * logits.log_softmax(dim=1).amax(dim=1).mean()


def negative_entropy(logits: Float[Tensor, "sample class"]) -> Float[Tensor, ""]:
    """sum_c m_c log m_c, nats, with m the batch's mean probabilities; -log C where m is flat."""
    log_mean = logits.log_softmax(dim=1).logsumexp(dim=0) - math.log(len(logits))
    return (log_mean.exp() * log_mean).sum()


def generator_block(
    generator: nn.Module,
    substitute: nn.Module,
    optimiser: torch.optim.Optimizer,
    z: Float[Tensor, "code latent"],
    loss: GeneratorLoss,
    *,
    epochs: int,
    batch: int,
    rng: torch.Generator,
) -> float | Tensor:
    """The generator's half step: `epochs` over the codes, through a copy that is held still.

    `loss` is told the logits and which codes they are of. Returns the mean loss of the steps.
    """
    generator.train()
    substitute.eval()
    moving = list(generator.parameters())
    total, made = torch.zeros((), device=z.device), 0
    n_batches = -(-len(z) // batch)
    for _ in range(epochs):
        order = torch.randperm(len(z), generator=rng, device=z.device)
        for rows in order.tensor_split(n_batches):
            optimiser.zero_grad()
            value = loss(substitute(generator(z[rows])), rows)
            value.backward(inputs=moving)
            optimiser.step()
            total += value.detach()
            made += 1
    return total / made if made else float("nan")


class Joint(NamedTuple):
    """The joint objective, and the copy's mean confidence, on the same images."""

    value: Tensor
    confidence: Tensor


@torch.no_grad()
def joint(substitute: nn.Module, x: Tensor, answers: Tensor) -> Joint:
    """J: mean cross-entropy of the copy, in evaluation mode, with the answers."""
    substitute.eval()
    logits = substitute(x)
    return Joint(label_loss(logits, answers), confidence_of(logits))


@torch.no_grad()
def images_of(generator: nn.Module, z: Float[Tensor, "code latent"]) -> Tensor:
    """Images of codes, made in nearly equal chunks, each with its own batch statistics."""
    generator.train()
    return torch.cat([generator(part) for part in z.tensor_split(-(-len(z) // CHUNK))])


def first_chunk(z: Float[Tensor, "code latent"]) -> Float[Tensor, "first latent"]:
    """The codes that `images_of` makes together first."""
    return z.tensor_split(-(-len(z) // CHUNK))[0]
