"""How well a classifier does, and how soon."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import nn
from torch.nn.functional import cross_entropy

from fedsec.core.functional import State, call
from fedsec.data.images import Images
from fedsec.errors import DataError, SettingsError


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How a classifier does on `n` labelled images.

    loss       mean cross-entropy, nats
    accuracy   in [0, 1]
    recall     accuracy within each class, in [0, 1]; NaN for a class without images
    """

    loss: float
    accuracy: float
    recall: Float[np.ndarray, " class"]
    n: int


def evaluate(net: nn.Module, state: State, images: Images, batch: int = 1024) -> Evaluation:
    """Loss, accuracy and recall of the network with this state, in evaluation mode.

    State and images lie on one device; `batch` images at a time pass through. The network's own
    parameters and its modes are as before afterwards. Raises DataError where there are no images,
    or a label is not one of the network's classes; SettingsError where `batch` < 1.
    """
    if batch < 1:
        raise SettingsError(f"batch = {batch}: give at least 1")
    if not len(images):
        raise DataError("there are no images to evaluate on")
    losses, guesses = [], []
    n_classes, top = 0, int(images.y.max())
    with _evaluation_mode(net), torch.no_grad():
        for x, y in zip(images.x.split(batch), images.y.split(batch), strict=True):
            logits = call(net, state, x)
            n_classes = logits.shape[1]
            if top >= n_classes:
                raise DataError(f"label {top} is not one of the network's {n_classes} classes")
            losses.append(cross_entropy(logits, y, reduction="none"))
            guesses.append(logits.argmax(dim=1))
    truth = images.y.cpu().numpy()
    hit = torch.cat(guesses).cpu().numpy() == truth
    of_class = np.bincount(truth, minlength=n_classes)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN, as it should be
        recall = np.bincount(truth, weights=hit, minlength=n_classes) / of_class
    loss = torch.cat(losses).double().mean().item()
    return Evaluation(loss, float(hit.mean()), recall, len(images))


def rounds_to(
    accuracies: Float[np.ndarray, " round"], reference_max: float, share: float = 0.99
) -> int:
    """The first round, from 1, with at least `share` of a reference accuracy; R + 1 where none.

    `R@99` of "Maverick Matters" (arXiv 2106.10734): the reference is the highest accuracy of random
    selection. Rounds that were not evaluated are NaN, and do not reach it. Raises SettingsError
    where `share` or the reference is not in (0, 1].
    """
    for name, value in (("share", share), ("reference_max", reference_max)):
        if not 0 < value <= 1:
            raise SettingsError(f"{name} = {value:g}: give a number above 0, and at most 1")
    reached = np.flatnonzero(accuracies >= share * reference_max)
    return int(reached[0]) + 1 if len(reached) else len(accuracies) + 1


@contextmanager
def _evaluation_mode(net: nn.Module) -> Iterator[None]:
    """Every module in evaluation mode within, and each in its own mode again afterwards."""
    training = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for module, mode in training:
            module.training = mode
