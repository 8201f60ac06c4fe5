"""One question to an attack: what was observed, what is known beside it, what is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fedsec.core.functional import Parameters
from fedsec.core.record import Knowledge, Update
from fedsec.diffusion.model import DiffusionModel
from fedsec.errors import SettingsError, UpdateError
from fedsec.inversion.denoiser import DiffusionVictim
from fedsec.inversion.victim import Victim


@dataclass(frozen=True, eq=False)
class Observed:
    """What a server saw of a client in a round: the parameters it sent, and what came back."""

    parameters: Parameters
    update: Update


@dataclass(frozen=True, eq=False)
class Case:
    """What an attack is given.

    victim     the loss, with the parameters of the first round
    observed   one or more rounds in which the client used the same images
    shape      (channel, height, width) of an image
    n          images to rebuild
    n_classes  of the labels
    knowledge  the threat model
    noise      what a diffusion client added to its images, where `knowledge.noise` says that it is
               known; else None
    prior      a trained diffusion model that the attacker has, or None

    Raises SettingsError for numbers out of range, and noise or steps that do not fit; UpdateError
    for an update that does not fit the parameters it was made from, or is not finite.
    """

    victim: Victim
    observed: tuple[Observed, ...]
    shape: tuple[int, int, int]
    n: int
    n_classes: int
    knowledge: Knowledge = field(default_factory=Knowledge)
    noise: Float[Tensor, "sample channel height width"] | None = None
    prior: DiffusionModel | None = None

    def __post_init__(self) -> None:
        if not self.observed:
            raise SettingsError("no round was observed: give at least one")
        if self.n < 1:
            raise SettingsError(f"n = {self.n}: give the number of images to rebuild, 1 or more")
        labels = self.knowledge.labels
        if labels is not None and len(labels) != self.n:
            raise SettingsError(f"{len(labels)} labels are known of {self.n} images")
        if labels is not None and not all(0 <= label < self.n_classes for label in labels):
            raise SettingsError(f"labels {labels}: give classes from 0 to {self.n_classes - 1}")
        _refuse_times(self)
        for seen in self.observed:
            refuse_misfit(seen.parameters, self.victim.parameters, "the parameters sent")
            refuse_misfit(seen.update.checked().tensors, self.victim.parameters, _name(seen.update))

    @property
    def device(self) -> torch.device:
        """Where the victim's parameters lie."""
        return next(iter(self.victim.parameters.values())).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the victim's parameters."""
        return next(iter(self.victim.parameters.values())).dtype


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """What an attack came to.

    x           the images, in [0, 1]
    labels      of each image, given or recovered; None where the attack has no use for them
    loss        objective of the best restart, at `x`
    history     objective in each iteration; NaN after a restart has ended
    candidates  the best images of every restart
    learnt      what else was learnt, by name: (restart, ...), where a restart has its least loss
    phases      images after each part of an attack that has several, by the name of the part
    t           time steps of a diffusion client, known or recovered; None where there are none
    best        the restart that `x` is from
    evaluations gradients of the victim's loss that were computed, in all restarts together
    seconds     wall time
    stopped     why it ended: "done", "time", "interrupted" or "diverged"
    knowledge   what the attacker was taken to know
    """

    x: Float[Tensor, "sample channel height width"]
    labels: Int[Tensor, " sample"] | None
    loss: float
    history: Float[np.ndarray, "iteration restart"]
    candidates: Float[Tensor, "restart sample channel height width"]
    best: int
    evaluations: int
    seconds: float
    stopped: str
    knowledge: Knowledge
    learnt: Mapping[str, Tensor] = field(default_factory=dict)
    phases: Mapping[str, Tensor] = field(default_factory=dict)
    t: tuple[int, ...] | None = None

    @property
    def iterations(self) -> int:
        """That were made."""
        return len(self.history)


def delta_to_gradient(update: Update, knowledge: Knowledge) -> Parameters:
    """The gradient that an update shows: itself, or what a change of parameters averages over.

    A change after N local steps of rate lr is -lr times the sum of N gradients, so -change/(lr N)
    is their mean. To first order in lr N it is the gradient of all images at the parameters sent
    (AGIC, arXiv 2204.13784; the formula is reconstructed). Where lr or N is unknown the direction
    alone is right, which is all that a cosine looks at.
    """
    if update.kind == "gradient":
        return update.tensors
    scale = (knowledge.lr or 1.0) * (knowledge.steps or 1)
    if not 0 < scale < inf:
        raise SettingsError(f"lr = {knowledge.lr}, steps = {knowledge.steps}: both must be above 0")
    return {name: value / -scale for name, value in update.tensors.items()}


def _refuse_times(case: Case) -> None:
    """Raises SettingsError where what is known of a diffusion client cannot be so."""
    t, noise, victim = case.knowledge.t, case.noise, case.victim
    if not isinstance(victim, DiffusionVictim):
        return
    if t is not None and len(t) != case.n:
        raise SettingsError(f"{len(t)} time steps are known of {case.n} images")
    if t is not None and not all(0 <= step < victim.schedule.steps for step in t):
        raise SettingsError(f"t = {t}: give steps from 0 to {victim.schedule.steps - 1}")
    if bool(case.knowledge.noise) != (noise is not None):
        said = "said to be known, and not given" if noise is None else "given, and said to be not"
        raise SettingsError(f"the noise is {said}: give both, or neither")
    if noise is not None and tuple(noise.shape) != (case.n, *case.shape):
        raise SettingsError(
            f"the noise has shape {tuple(noise.shape)}, and the images {(case.n, *case.shape)}"
        )
    if case.prior is not None and case.prior.shape != case.shape:
        raise SettingsError(
            f"the prior makes images of {case.prior.shape}, and the client's are {case.shape}"
        )


def refuse_misfit(tensors: Mapping[str, Tensor], like: Mapping[str, Tensor], what: str) -> None:
    """Raises UpdateError, naming the tensor, where names, shapes or order differ."""
    missing, strange = like.keys() - tensors.keys(), tensors.keys() - like.keys()
    if missing or strange:
        said = [f"without {', '.join(sorted(missing))}"] if missing else []
        said += [f"with {', '.join(sorted(strange))}, which it has not"] if strange else []
        raise UpdateError(
            f"{what} does not fit the network: {' and '.join(said)}; is it of another network?"
        )
    for name, value in like.items():
        if tensors[name].shape != value.shape:
            raise UpdateError(
                f"{what}: {name!r} is {_sizes(tensors[name])}, and {_sizes(value)} in the network;"
                " is it of another network?"
            )
        if not tensors[name].is_floating_point():
            raise UpdateError(f"{what}: {name!r} is {tensors[name].dtype}, no floating point")


def _sizes(value: Tensor) -> str:
    return " x ".join(map(str, value.shape)) or "a scalar"


def _name(update: Update) -> str:
    return f"the update of client {update.client}, round {update.round},"
