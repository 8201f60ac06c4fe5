"""What attacks take from what is known, and recover where it is not."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from fedsec.core.functional import Parameters
from fedsec.errors import SettingsError
from fedsec.inversion.case import Case, delta_to_gradient
from fedsec.inversion.labels import recover_labels

Batches = tuple[tuple[int, ...], ...]


def known_labels(case: Case) -> Int[Tensor, " sample"] | None:
    """The labels that are known; None where they are not."""
    labels = case.knowledge.labels
    return None if labels is None else torch.tensor(labels, device=case.device)


def labels_of(case: Case) -> Int[Tensor, " sample"]:
    """The labels that are known, or those recovered from the first round's update."""
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
