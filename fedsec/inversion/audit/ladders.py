"""Defences of rising strength, to draw what is leaked, and what is lost, against the strength.

A defence is one of three things, as in `federated.privacy`: a map of the update, a map that the
client makes of its own images (Soteria), or another way to take the gradient (DP-SGD).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.func import grad, vmap

from fedsec.core.functional import Parameters, State
from fedsec.core.record import Update
from fedsec.data.images import Images
from fedsec.errors import SettingsError
from fedsec.federated.local import FullGradient
from fedsec.federated.privacy import (
    Defence,
    DefendedClients,
    PrivateClients,
    PrivateSGD,
    Quantise,
    RelativeNoise,
    Signs,
    Soteria,
    TopK,
    gaussian,
    private_gradient,
)
from fedsec.federated.privacy.laws import with_noise
from fedsec.federated.privacy.private_gradient import sum_of_clipped
from fedsec.federated.simulate import Federation
from fedsec.inversion.adapt import ADAPTATIONS, unchanged
from fedsec.inversion.audit.subject import Subject
from fedsec.inversion.case import Observed
from fedsec.inversion.denoiser import DiffusionVictim

Protection = Defence | Soteria | PrivateSGD
Known = Defence | PrivateSGD


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """One defence.

    title      in words
    axis       what the strengths are
    strengths  from weak to strong
    make       strength -> the defence
    says       what a reader should know of it
    """

    title: str
    axis: str
    strengths: tuple[float | int, ...]
    make: Callable[[float | int], Protection]
    says: str = ""


def protected(
    subject: Subject, protection: Protection, generator: torch.Generator
) -> tuple[Subject, Known]:
    """The client, had it defended its updates; and the defence as `adapt` knows it.

    Raises SettingsError where the defence needs the client's images and they are not known, or
    does not fit what the client sends.
    """
    known: Known = _own(subject, protection, subject.observed[0])
    sent = tuple(_sent(subject, protection, seen, generator) for seen in subject.observed)
    return replace(subject, observed=sent), known


def _sent(
    subject: Subject, protection: Protection, seen: Observed, generator: torch.Generator
) -> Observed:
    """What would have been sent in this round."""
    own = _own(subject, protection, seen)
    if not isinstance(own, PrivateSGD):
        return replace(seen, update=own(seen.update, generator))
    if isinstance(subject.victim, DiffusionVictim):
        return replace(seen, update=_private_denoising(subject, own, seen, generator))
    if subject.kind != "gradient":
        raise SettingsError("DP-SGD is applied here to clients that send one gradient")
    truth = _images(subject, own)
    update = private_gradient(
        subject.victim.net, State(seen.parameters, subject.victim.buffers), truth.x, truth.y,
        generator, settings=own, round=seen.update.round, client=seen.update.client,
    )  # fmt: skip
    return replace(seen, update=update)


def _own(subject: Subject, protection: Protection, seen: Observed) -> Known:
    """The defence that the client makes of its images, where it makes one."""
    if not isinstance(protection, Soteria):
        return protection
    if isinstance(subject.victim, DiffusionVictim):
        raise SettingsError(
            "Soteria cuts features of a classifier's last dense layer, and a diffusion model has"
            " none: take noise, top-k, bits or dp-sgd"
        )
    state = State(seen.parameters, subject.victim.buffers)
    return protection(subject.victim.net, state, _images(subject, protection).x)


def _private_denoising(
    subject: Subject, settings: PrivateSGD, seen: Observed, generator: torch.Generator
) -> Update:
    """One gradient of the diffusion loss by DP-SGD: each image's clipped, noise on their sum."""
    truth, facts = _images(subject, settings), subject.facts
    if facts.t is None or subject.noise is None:
        raise SettingsError("DP-SGD needs the client's time steps and noise, which are not known")

    def of_one(parameters: Parameters, x: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        return subject.victim.loss(parameters, x[None], (t[None], eps[None]))

    t = torch.tensor(facts.t, device=truth.x.device)
    each = vmap(grad(of_one), in_dims=(None, 0, 0, 0))(seen.parameters, truth.x, t, subject.noise)
    total = sum_of_clipped(each, settings.norm)
    noisy = with_noise(total, settings.noise_multiplier * settings.norm, gaussian, generator)
    tensors = {name: value / len(truth) for name, value in noisy.items()}
    return replace(seen.update, tensors=tensors).checked()


def can_adapt(protection: Protection) -> bool:
    """Whether it helps an attacker to know this defence."""
    if isinstance(protection, Soteria):
        return True
    return ADAPTATIONS[type(protection)](protection) is not unchanged


def _images(subject: Subject, protection: Protection) -> Images:
    if subject.truth is None:
        raise SettingsError(
            f"{type(protection).__name__} needs the client's own images, which are not known"
        )
    return subject.truth


def federated(federation: Federation, protection: Protection) -> Federation:
    """The federation with all clients protected."""
    if isinstance(protection, Soteria):
        return replace(federation, engine=DefendedClients(defence=protection))
    if isinstance(protection, PrivateSGD):
        rate = federation.local.lr
        return replace(
            federation, engine=PrivateClients(settings=protection), local=FullGradient(lr=rate)
        )
    return replace(federation, defences=(*federation.defences, protection))


def _bits(bits: float | int) -> Defence:
    return Signs() if bits == 1 else Quantise(bits=int(bits))


LADDERS: dict[str, Ladder] = {
    "noise": Ladder(
        title="Gaussian noise",
        axis="standard deviation, times the RMS of the update",
        strengths=(0.1, 0.3, 1.0, 3.0, 10.0),
        make=lambda scale: RelativeNoise(scale=scale),
        says="At 1 the noise is as long as the update. It is not clipped, so it has no epsilon.",
    ),
    "top-k": Ladder(
        title="Top-k",
        axis="share of the entries that is sent",
        strengths=(0.5, 0.2, 0.05, 0.01),
        make=lambda share: TopK(share=share),
        says="The largest entries are sent, the others are 0.",
    ),
    "bits": Ladder(
        title="Quantisation",
        axis="bits an entry; 1 is the sign",
        strengths=(8, 4, 2, 1),
        make=_bits,
        says="Rounded at random and right on average, but for signs.",
    ),
    "soteria": Ladder(
        title="Soteria",
        axis="share of the features that is cut",
        strengths=(0.1, 0.4, 0.8),
        make=lambda share: Soteria(share=share),
        says="The client cuts features of the last dense layer, which it chooses by its images.",
    ),
    "dp-sgd": Ladder(
        title="DP-SGD",
        axis="noise multiplier, at a norm of 1 a sample",
        strengths=(0.001, 0.01, 0.1, 1.0),
        make=lambda multiplier: PrivateSGD(noise_multiplier=multiplier, norm=1.0),
        says="Gradients of single images are clipped and their sum gets noise.",
    ),
}
"""Each from weak to strong."""
