"""What leaks as something is varied: a defence's strength, local steps, images in a step.

Each point is measured on the same few clients, made from the data set, by the same attacks with the
labels known (of a diffusion model time steps and noise); the one that does best counts. Beside it
stand the same with an attacker who knows the defence, and the accuracy that training with the
defence comes to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from fedsec.core.record import Knowledge
from fedsec.core.rng import torch_stream
from fedsec.inversion.adapt import adaptation_to
from fedsec.inversion.attack import Watch
from fedsec.inversion.attacks import Attack
from fedsec.inversion.audit.findings import Finding, Ground, begun, find
from fedsec.inversion.audit.ladders import Protection, protected
from fedsec.inversion.audit.subject import Subject
from fedsec.inversion.denoiser import DiffusionVictim
from fedsec.inversion.victim import Victim


@dataclass(frozen=True, eq=False)
class Got:
    """What one attack got of all clients' images, one after another."""

    attack: str
    psnr: Float[np.ndarray, " image"]
    reidentified: Bool[np.ndarray, " image"]
    exposed: Bool[np.ndarray, " image"]

    @property
    def median(self) -> float:
        """PSNR."""
        return float(np.nanmedian(self.psnr))


@dataclass(frozen=True, eq=False)
class Leak:
    """What several attacks got. Each measure is that of the attack which does best by it."""

    each: tuple[Got, ...]

    @property
    def best(self) -> Got:
        """The attack of the highest median PSNR."""
        return max(self.each, key=lambda one: one.median)

    @property
    def reidentified(self) -> float:
        """The highest share."""
        return max(float(one.reidentified.mean()) for one in self.each)

    @property
    def exposed(self) -> float:
        """The highest share."""
        return max(float(one.exposed.mean()) for one in self.each)


@dataclass(frozen=True, eq=False)
class Point:
    """One place on a curve; what could not be measured is None.

    at        strength, steps or images
    guess     median PSNR of the best guess without an update
    adaptive  by an attacker who adapts to the defence; None where knowing it changes nothing
    accuracy  after training with it, by seed
    """

    at: float | int
    leak: Leak | None = None
    guess: float | None = None
    adaptive: Leak | None = None
    accuracy: Float[np.ndarray, " seed"] | None = None

    @property
    def knowing(self) -> Leak | None:
        """Of an attacker who knows the defence: they attack both ways."""
        both = [one for of in (self.leak, self.adaptive) if of is not None for one in of.each]
        return Leak(tuple(both)) if both else None


@dataclass(frozen=True, eq=False)
class Curve:
    """Points in their order, and what was varied.

    axis     what `at` of a point is
    plain    of a defence: the same clients without it
    why_not  why points, or parts of them, are missing
    """

    name: str
    title: str
    axis: str
    points: tuple[Point, ...]
    says: str = ""
    plain: Point | None = None
    why_not: str | None = None


Clients = list[tuple[Subject, Ground]]


def curves_know(victim: Victim) -> str:
    """The threat model of curves."""
    return "known-noise" if isinstance(victim, DiffusionVictim) else "labels"


def _told(subject: Subject) -> Knowledge:
    facts = subject.facts
    if isinstance(subject.victim, DiffusionVictim):
        return Knowledge(t=facts.t, noise=facts.noise)
    return Knowledge(labels=facts.labels)


def leak(
    clients: Clients,
    attacks: Mapping[str, Attack],
    *,
    seed: int,
    watch: Watch,
    protection: Protection | None = None,
    adaptive: bool = False,
) -> Leak | None:
    """What the attacks get of these clients, with their labels, or steps and noise, known.

    adaptive  the attacker knows the protection

    None where it was interrupted, or no attack can be used.
    """
    share = replace(watch, seconds=watch.seconds / max(len(clients) * len(attacks), 1))
    found = []
    for name, attack in attacks.items():
        each = []
        for place, (subject, ground) in enumerate(clients):
            adapt = None
            if protection is not None:
                draw = torch_stream(seed, "defence", place, device=ground.population.x.device)
                subject, defence = protected(subject, protection, draw)
                adapt = adaptation_to(defence) if adaptive else None
            one = find(
                subject, attack, knowledge=_told(subject), ground=ground, seed=seed + place,
                name=name, adapt=adapt, watch=share,
            )  # fmt: skip
            if one.found is not None and one.found.stopped == "interrupted":
                return None
            each.append(begun(one))
        if all(one.scores is not None for one in each):
            found.append(_pooled(f"{name}, adapted" if adaptive else name, each))
    return Leak(tuple(found)) if found else None


def best_guess(grounds: Sequence[Ground]) -> float:
    """Median PSNR, over all images, of the guess without an update that has the highest."""
    names = grounds[0].guesses
    return max(
        float(np.median(np.concatenate([one.guesses[name].psnr for one in grounds])))
        for name in names
    )


def _pooled(name: str, each: Sequence[Finding]) -> Got:
    scores = [one.scores for one in each if one.scores is not None]
    return Got(
        attack=name,
        psnr=np.concatenate([one.psnr for one in scores]),
        reidentified=np.concatenate(
            [one.reidentified for one in scores if one.reidentified is not None]
        ),
        exposed=np.concatenate([one.exposed for one in each if one.exposed is not None]),
    )
