"""What attacks take from what is known, and recover where it is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from fedsec.core.functional import Parameters
from fedsec.errors import SettingsError
from fedsec.inversion.attack import Adaptation, Search, Watch, invert
from fedsec.inversion.case import Case, Reconstruction, delta_to_gradient
from fedsec.inversion.denoiser import NOISE, TIMES, DiffusionVictim, extra_of
from fedsec.inversion.each import invert_each
from fedsec.inversion.labels import recover_labels
from fedsec.inversion.trials import Variables

Batches = tuple[tuple[int, ...], ...]


def known_labels(case: Case) -> Int[Tensor, " sample"] | None:
    """The labels that are known; None where they are not."""
    labels = case.knowledge.labels
    return None if labels is None else torch.tensor(labels, device=case.device)


def labels_of(case: Case) -> Int[Tensor, " sample"]:
    """The labels that are known, or those recovered from the first round's update.

    Raises SettingsError for a diffusion model, which has none.
    """
    refuse_diffusion(case)
    given = known_labels(case)
    if given is not None:
        return given
    seen, known = case.observed[0].update, case.knowledge
    return recover_labels(
        case.victim, first_gradient(case), case.n, case.shape,
        scaled=seen.kind == "gradient" or None not in (known.lr, known.steps),
    ).labels  # fmt: skip


def first_gradient(case: Case) -> Parameters:
    """The mean gradient that the first round's update shows."""
    return delta_to_gradient(case.observed[0].update, case.knowledge)


def local_batches(case: Case) -> Batches:
    """Which images were in which local step: as known, else in the order of the labels.

    A client goes through its images in batches, again and again until its steps are over; where
    the order is not known, an epoch is taken to be like the next. Raises SettingsError where the
    number of steps is not known, or they do not fit.
    """
    known = case.knowledge
    if known.order is not None:
        if not all(0 <= image < case.n for batch in known.order for image in batch):
            raise SettingsError(f"order {known.order}: give images from 0 to {case.n - 1}")
        return known.order
    if known.steps is None:
        raise SettingsError(
            "a simulation needs to know the client's steps: give steps, or an order, or use agic,"
            " which does without"
        )
    if known.steps < 1:
        raise SettingsError(f"steps = {known.steps}: give at least 1")
    batch = known.batch or -(-case.n // known.steps)
    epoch = [tuple(range(at, min(at + batch, case.n))) for at in range(0, case.n, batch)]
    return tuple(epoch[step % len(epoch)] for step in range(known.steps))


def invert_told(
    case: Case,
    search: Search,
    labels: Callable[[Case], Tensor | None],
    *,
    generator: torch.Generator,
    adapt: Adaptation | None,
    watch: Watch | None,
) -> Reconstruction:
    """One search of the loop: with labels for a classifier, with steps and noise for a denoiser.

    So an attack on classifiers is carried over to diffusion models: the loss is another one, labels
    are dropped, and time steps and noise are as known. What is not known of them is drawn at random
    once, and not learnt.
    """
    if not isinstance(case.victim, DiffusionVictim):
        return invert(
            case, search, labels=labels(case), generator=generator, adapt=adapt, watch=watch
        )
    given = told_or_drawn(case, generator)
    (found,) = invert_each(
        [case], search, extra=extra_of, given=[given], generator=generator, adapt=adapt, watch=watch
    )
    return replace(found, t=tuple(given[TIMES].tolist()))


def told_or_drawn(case: Case, generator: torch.Generator) -> Variables:
    """Time steps and noise of a diffusion client: those that are known, or else random ones."""
    victim = diffusion_victim_of(case)
    t, eps = case.knowledge.t, case.noise
    if t is None:
        drawn = torch.randint(
            victim.schedule.steps, (case.n,), generator=generator, device=generator.device
        )
    else:
        drawn = torch.tensor(t)
    if eps is None:
        eps = torch.randn(case.n, *case.shape, generator=generator, device=generator.device)
    return {TIMES: drawn.to(case.device), NOISE: eps.to(case.device, case.dtype)}


def told_noise(case: Case, attack: str) -> Variables:
    """Time steps and noise that are known. Raises SettingsError where either is not."""
    diffusion_victim_of(case)
    missing = [
        name
        for name, known in (("time steps", case.knowledge.t), ("noise", case.noise))
        if known is None
    ]
    if missing:
        raise SettingsError(
            f"{attack} needs to know the client's {' and '.join(missing)}: use gidm+, which does"
            " without"
        )
    return {
        TIMES: torch.tensor(case.knowledge.t, device=case.device),
        NOISE: torch.as_tensor(case.noise).to(case.device, case.dtype),
    }


def refuse_diffusion(case: Case) -> None:
    """Raises SettingsError where the victim is a diffusion model."""
    if isinstance(case.victim, DiffusionVictim):
        raise SettingsError(
            "this attack is for classifiers, and the victim is a diffusion model: use gidm, gidm+,"
            " pixels, dlg or inverting-gradients"
        )


def diffusion_victim_of(case: Case) -> DiffusionVictim:
    """The victim. Raises SettingsError where it is a classifier."""
    if not isinstance(case.victim, DiffusionVictim):
        raise SettingsError(
            "this attack rebuilds what a diffusion model was trained on, and the victim is a"
            " classifier: use inverting-gradients, or another attack on classifiers"
        )
    return case.victim
