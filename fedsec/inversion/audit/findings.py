"""One attack on a client under one threat model: what came out, how well, or why it cannot be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Int
from torch import Tensor

from fedsec.core.record import Knowledge
from fedsec.core.rng import torch_stream
from fedsec.data.images import Images
from fedsec.errors import SettingsError, UpdateError
from fedsec.inversion.attack import Adaptation, Watch
from fedsec.inversion.attacks import ATTACKS, DIFFUSION_ATTACKS, Attack
from fedsec.inversion.audit.subject import Subject
from fedsec.inversion.case import Reconstruction
from fedsec.inversion.scores import Scores, controls, score
from fedsec.metrics.identification import identify

MARGIN = 3.0  # dB above the best guess without an update, for an image to count as exposed


@dataclass(frozen=True, eq=False)
class Ground:
    """What reconstructions are held against; `ground_of` makes one.

    truth, labels  the client's; None where they are not known
    population     the training set, for nearest neighbours
    guesses        scores of guesses that use no update; none without the truth
    """

    truth: Tensor | None
    labels: Tensor | None
    population: Images
    guesses: Mapping[str, Scores]


@dataclass(frozen=True, eq=False)
class Finding:
    """What an attack came to.

    why_not   why it cannot be used here; then there is nothing else
    scores    None where the true images are not known
    nearest   index in the training set of the image nearest to each reconstruction
    exposed   by true image; None where the true images are not known
    """

    threat: str
    attack: str
    settings: Mapping[str, Any]
    knowledge: Knowledge
    found: Reconstruction | None = None
    scores: Scores | None = None
    nearest: Int[np.ndarray, " found"] | None = None
    exposed: Bool[np.ndarray, " truth"] | None = None
    why_not: str | None = None

    @property
    def strength(self) -> tuple[float, float, float]:
        """To compare attacks by: exposed images, then those re-identified, then median PSNR."""
        if self.scores is None or self.exposed is None or self.scores.reidentified is None:
            return -1.0, -1.0, -1.0
        shares = float(self.exposed.mean()), float(self.scores.reidentified.mean())
        return *shares, float(np.nanmedian(self.scores.psnr))


def ground_of(subject: Subject, population: Images, seed: int) -> Ground:
    """The truth of a client, where it is known, and what guesses come to."""
    population = population.to(subject.case(Knowledge()).device)
    if subject.truth is None:
        return Ground(None, None, population, {})
    truth = subject.truth
    labels = None if subject.facts.labels is None else truth.y
    guesses = controls(
        truth.x, population, generator=torch_stream(seed, "random images"), true_labels=labels
    )
    return Ground(truth.x, labels, population, guesses)


def attack_of(name: str, **settings: Any) -> Attack:
    """An attack of either table, with those of the settings that it has.

    Raises SettingsError where there is no such attack, or a setting is out of its range.
    """
    every = ATTACKS | DIFFUSION_ATTACKS
    if name not in every:
        raise SettingsError(f"there is no attack {name!r}: choose from {', '.join(every)}")
    own = {field.name for field in fields(every[name])}
    made: Attack = every[name](**{key: value for key, value in settings.items() if key in own})
    return made


def find(
    subject: Subject,
    attack: Attack,
    *,
    knowledge: Knowledge,
    ground: Ground,
    seed: int,
    threat: str = "",
    name: str = "",
    adapt: Adaptation | None = None,
    watch: Watch | None = None,
) -> Finding:
    """Attack, and score where the truth is known. An attack that cannot be used says why.

    The attack draws from the seed, its name and the threat model.
    """
    case = subject.case(knowledge)
    blank = Finding(threat, name, settings_of(attack), knowledge)
    generator = torch_stream(seed, f"{name}, {threat}", device=case.device)
    try:
        found = attack(case, generator=generator, adapt=adapt, watch=watch)
    except (SettingsError, UpdateError) as error:
        return replace(blank, why_not=str(error))
    x = found.x.detach()
    if ground.truth is None:
        nearest = identify(x, x, ground.population.x).nearest
        return replace(blank, found=found, nearest=nearest)
    labels = None if ground.labels is None else found.labels
    scores = score(
        x, ground.truth, population=ground.population, found_labels=labels,
        true_labels=ground.labels,
    )  # fmt: skip
    return replace(blank, found=found, scores=scores, exposed=exposed(scores, ground.guesses))


def exposed(scores: Scores, guesses: Mapping[str, Scores]) -> Bool[np.ndarray, " truth"]:
    """Which true images are exposed.

    The true image is nearer to its reconstruction than any other of the training set, and its PSNR
    is MARGIN above what the best guess without an update has on this very image. Both are asked
    for: in a small set chance alone is often nearest, and an image near the mean has a fair PSNR
    whatever is done.
    """
    best = np.nanmax([guess.psnr for guess in guesses.values()], axis=0)
    hit = scores.psnr > best + MARGIN
    if scores.reidentified is not None:
        hit &= scores.reidentified
    found: np.ndarray = hit
    return found


def begun(finding: Finding) -> Finding:
    """The finding; where time was over before a first iteration, one that says so.

    What it would show is where the search starts, which is noise.
    """
    if finding.found is None or finding.found.iterations:
        return finding
    why = "it was ended before its first iteration"
    return replace(
        finding, found=None, scores=None, nearest=None, exposed=None, why_not=why
    )  # fmt: skip


def settings_of(attack: Attack) -> dict[str, Any]:
    """The record of an attack: its settings, fit for JSON."""
    from fedsec.federated.history import described

    found: dict[str, Any] = described(attack)
    return found
