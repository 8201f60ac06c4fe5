"""How a copy is trained on answers: the steps that all attacks share.

Labels         cross-entropy (eq. M1 of MEGA's objectives).
Probabilities  cross-entropy with the answered law (M2), or the L1 distance of logits from the
               mean-centred logarithms of the answer, as DFME and TandemGAN do.
Optimiser      RMSprop, as in the authors' code of MEGA and TandemGAN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, l1_loss

from fedsec.stealing.oracle import Mode

AnswerLoss = Callable[[Tensor, Tensor], Tensor]
"""(logits of the copy, answers of the oracle) -> mean loss."""

LEAST = 1e-8  # a probability below it counts as this much, in logarithms


def rmsprop(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    """RMSprop with PyTorch's defaults, one call a step for all tensors."""
    return torch.optim.RMSprop(parameters, lr=lr, foreach=True)


def set_rate(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """The learning rate from now on."""
    for group in optimiser.param_groups:
        group["lr"] = lr


def label_loss(logits: Float[Tensor, "sample class"], answers: Tensor) -> Float[Tensor, ""]:
    """Mean cross-entropy with labels, or with probabilities where those were answered."""
    return cross_entropy(logits, answers)


def recovered_logits(answers: Float[Tensor, "sample class"]) -> Float[Tensor, "sample class"]:
    """log p minus its mean over classes: the victim's logits but for a constant."""
    logs = answers.clamp_min(LEAST).log()
    return logs - logs.mean(dim=1, keepdim=True)


def logit_loss(
    logits: Float[Tensor, "sample class"], answers: Float[Tensor, "sample class"]
) -> Float[Tensor, ""]:
    """Mean absolute distance of logits from `recovered_logits`."""
    return l1_loss(logits, recovered_logits(answers))


def loss_for(mode: Mode) -> AnswerLoss:
    """`label_loss` for labels, `logit_loss` for probabilities."""
    return label_loss if mode == "labels" else logit_loss


def train_substitute(
    net: nn.Module,
    optimiser: torch.optim.Optimizer,
    x: Float[Tensor, "sample channel height width"],
    answers: Tensor,
    *,
    batch: int,
    generator: torch.Generator,
    epochs: int = 1,
    steps: int | None = None,
    loss: AnswerLoss = label_loss,
) -> tuple[float | Tensor, int]:
    """Train a copy in place, in training mode, in mini-batches of nearly equal size.

    steps       at most, where given: the last epoch then ends early
    generator   orders the images, anew in each epoch; on their device

    Returns the mean loss of the steps, on the device, and how many were made. One image alone is
    not trained on: batch normalisation has no statistics of it.
    """
    n, made = len(x), 0
    if n < 2:
        return float("nan"), 0
    net.train()
    n_batches = -(-n // batch)
    total = torch.zeros((), device=x.device)
    for _ in range(epochs):
        order = torch.randperm(n, generator=generator, device=x.device)
        for rows in order.tensor_split(n_batches):
            if made == steps:
                break
            total += substitute_step(net, optimiser, x[rows], answers[rows], loss)
            made += 1
    return total / max(made, 1), made


def substitute_step(
    net: nn.Module,
    optimiser: torch.optim.Optimizer,
    x: Tensor,
    answers: Tensor,
    loss: AnswerLoss = label_loss,
) -> Tensor:
    """One step on one batch; returns the loss before it, detached."""
    optimiser.zero_grad()
    value = loss(net(x), answers)
    value.backward()
    optimiser.step()
    return value.detach()
