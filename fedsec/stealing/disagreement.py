"""The step of a generator that looks for images on which the copy is not yet the victim.

Story       DFME and MAZE play a game: the copy comes nearer to the victim, the generator moves its
            images to where the two are furthest apart. That gap depends on the victim's answer,
            which has no gradient. Two ways out:
differences the slope at the images before the activation is estimated from the gap along random
            directions (`zeroth_order`), one query for each direction more; as published
through     the answer is held fixed, and the slope is that of the copy alone; one query an image
Labels      The gap is the cross-entropy of the copy with the label. By differences it jumps where
            the label changes; a step of 1e-3 hardly ever sees that, so there too nearly all that
            the generator learns comes from the copy. RECONSTRUCTED: both papers need probabilities.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy

from fedsec.stealing.generators import Generator
from fedsec.stealing.online import codes
from fedsec.stealing.oracle import Oracle, affordable
from fedsec.stealing.parts import Parts
from fedsec.stealing.substitute import LEAST, recovered_logits
from fedsec.stealing.zeroth_order import EPS, estimate, sphere

Gap = Callable[[Tensor, Tensor], Tensor]
"""(logits of the copy, answers) -> (sample,): how far apart copy and victim are on each image."""

ENOUGH = 2  # images that batch statistics need


@dataclass(frozen=True, eq=False)
class Sought:
    """The images of a generator's step, the answers to them, and the mean gap before it."""

    x: Float[Tensor, "sample channel height width"]
    answers: Tensor
    gap: Float[Tensor, ""]


Seek = Callable[..., Sought | None]
"""(oracle, parts, gap, batch, directions, scale) -> what was sought; None: too little is left."""


def label_gap(logits: Float[Tensor, "sample class"], answers: Tensor) -> Float[Tensor, " sample"]:
    """Cross-entropy with labels."""
    return cross_entropy(logits, answers, reduction="none")


def logit_gap(
    logits: Float[Tensor, "sample class"], answers: Float[Tensor, "sample class"]
) -> Float[Tensor, " sample"]:
    """Summed distance of logits from the recovered ones of the victim (DFME, section 3.3)."""
    return (logits - recovered_logits(answers)).abs().sum(dim=1)


def divergence_gap(
    logits: Float[Tensor, "sample class"], answers: Float[Tensor, "sample class"]
) -> Float[Tensor, " sample"]:
    """KL(victim || copy), nats (MAZE, eq. 3)."""
    apart = answers.clamp_min(LEAST).log() - logits.log_softmax(dim=1)
    return (answers * apart).sum(dim=1)


def by_differences(
    oracle: Oracle, parts: Parts, gap: Gap, batch: int, directions: int, scale: float | int = 1.0
) -> Sought | None:
    """One step of the generator; asks batch * (directions + 1) images, or fewer at the end.

    The gradient is that of the mean gap over `scale`.
    """
    n = affordable(oracle, batch * (directions + 1)) // (directions + 1)
    if n < ENOUGH:
        return None
    generator = _ready(parts)
    asked: list[tuple[Tensor, Tensor]] = []

    def value(points: Tensor) -> Tensor:
        x = generator.activation(points).clamp(0, 1)
        asked.append((x, oracle(x)))
        return gap(parts.substitute(x), asked[0][1])

    v = generator(codes(parts, n, generator.latent), activated=False)
    around = sphere(directions, v.detach(), parts.generators["directions"])
    found = estimate(value, v, around, eps=EPS, scale=n * scale)
    _ascend(parts, v, found.gradient)
    x, answers = asked[0]
    return Sought(x[:n], answers[:n], found.value.mean())


def through_copy(
    oracle: Oracle, parts: Parts, gap: Gap, batch: int, directions: int, scale: float | int = 1.0
) -> Sought | None:
    """As `by_differences`, by the slope of the copy for fixed answers; `directions` is not used."""
    n = affordable(oracle, batch)
    if n < ENOUGH:
        return None
    generator = _ready(parts)
    made = generator(codes(parts, n, generator.latent)).clamp(0, 1)
    x = made.detach().requires_grad_()
    answers = oracle(x)
    apart = gap(parts.substitute(x), answers)
    (slope,) = torch.autograd.grad(apart.sum() / (n * scale), x)
    _ascend(parts, made, slope)
    return Sought(x.detach(), answers, apart.detach().mean())


def _ready(parts: Parts) -> Generator:
    """The generator by its batch statistics, the copy by its running ones."""
    parts.substitute.eval()
    generator = parts.nets["generator"]
    assert isinstance(generator, Generator)
    return generator.train()


def _ascend(parts: Parts, made: Tensor, slope: Tensor) -> None:
    optimiser = parts.optimisers["generator"]
    optimiser.zero_grad()
    made.backward(-slope)
    optimiser.step()
