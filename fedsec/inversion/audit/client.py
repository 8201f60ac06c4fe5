"""A client that is made: images drawn from a data set, trained on as the federation's clients do.

So there is a truth to score against, and how a client trains can be varied. The steps are those of
`federated.local` and `federated.engines`, which the simulator and the Flower client take too. A
client of a diffusion model draws time steps and noise as those of `federated.denoising` do.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fedsec.core.functional import State, gradient
from fedsec.core.record import Knowledge, Update
from fedsec.core.rng import stream, torch_stream
from fedsec.data.images import ImageData, Images
from fedsec.diffusion.model import DiffusionModel
from fedsec.errors import DataError, SettingsError
from fedsec.federated.denoising import DenoisingLoss
from fedsec.federated.engines import Local, one_by_one
from fedsec.federated.local import FullGradient, LocalTraining, Plan
from fedsec.inversion.audit.subject import Subject
from fedsec.inversion.case import Observed
from fedsec.inversion.denoiser import DiffusionVictim
from fedsec.inversion.victim import Victim


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a client trains, and on how many images.

    local  `LocalTraining`, whose change of parameters it sends; or `FullGradient`: one gradient
    """

    images: int = 4
    local: Local = LocalTraining(epochs=1, batch=4, lr=0.01)

    def __post_init__(self) -> None:
        if self.images < 1:
            raise SettingsError(f"images = {self.images}: give at least 1")

    def __str__(self) -> str:
        said = f"{self.images} image{'s' if self.images > 1 else ''}"
        if isinstance(self.local, FullGradient):
            return f"{said}, one gradient"
        n = self.n_steps
        return (
            f"{said}, {n} local step{'s' if n > 1 else ''} of"
            f" {min(self.local.batch, self.images)} at a rate of {self.local.lr:g}"
        )

    @property
    def n_steps(self) -> int:
        """Optimiser steps; 1 for a gradient."""
        if isinstance(self.local, FullGradient):
            return 1
        return self.local.epochs * -(-self.images // self.local.batch)


def make_client(victim: Victim, data: ImageData, recipe: Recipe, seed: int) -> Subject:
    """A client with images that the seed draws from the training set, after one round.

    The network trains in training mode, as clients do; drop-out draws from the seed. The victim's
    parameters and buffers are what the client is sent. Raises DataError where there are too few
    images, UpdateError where training diverges, SettingsError for a diffusion model that takes
    local steps.
    """
    if isinstance(victim, DiffusionVictim):
        return make_diffusion_client(victim, data, recipe, seed)
    part = draw_images(data, recipe.images, seed)
    plan = Plan(recipe.local, part, seed, number=1, client=seed, times=0)
    state = State(victim.parameters, victim.buffers)
    train = data.train.to(next(iter(victim.parameters.values())).device)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.set_state(torch_stream(seed, "drop-out").get_state())
        (trained,) = one_by_one(
            copy.deepcopy(victim.net), state, train, [plan], recipe.local, 1
        )  # fmt: skip
    truth = train.subset(part)
    _, channels, height, width = train.x.shape
    return Subject(
        victim=victim, observed=(Observed(victim.parameters, trained.update.checked()),),
        shape=(channels, height, width), n=len(part), n_classes=len(data.classes),
        facts=facts_of(recipe, plan, tuple(truth.y.tolist())), truth=truth,
    )  # fmt: skip


def make_diffusion_client(
    victim: DiffusionVictim,
    data: ImageData,
    recipe: Recipe,
    seed: int,
    *,
    t: tuple[int, ...] | None = None,
    prior: DiffusionModel | None = None,
) -> Subject:
    """A client that sends the gradient of the diffusion loss of its images.

    t      its time steps, one an image; drawn by the seed where None, as its noise always is
    prior  a trained model that attackers have

    Raises SettingsError for local steps: no attack here looks through those of a diffusion model.
    """
    if not isinstance(recipe.local, FullGradient):
        raise SettingsError(
            "clients of a diffusion model are attacked by one gradient: give FullGradient()"
            " (fedsgd) as their local training"
        )
    part = draw_images(data, recipe.images, seed)
    device = next(iter(victim.parameters.values())).device
    truth = data.train.subset(part).to(device)
    _, channels, height, width = truth.x.shape
    plan = Plan(recipe.local, part, seed, number=1, client=seed, times=0)
    loss = DenoisingLoss(schedule=victim.schedule, objective=victim.objective)
    drawn, eps = loss.noise_of(plan, (channels, height, width), device)
    steps = drawn if t is None else torch.tensor(t, device=device)
    return sent_by_denoiser(victim, truth, steps, eps, len(data.classes), client=seed, prior=prior)


def sent_by_denoiser(
    victim: DiffusionVictim,
    truth: Images,
    t: Int[Tensor, " sample"],
    eps: Float[Tensor, "sample channel height width"],
    n_classes: int,
    *,
    client: int = 0,
    prior: DiffusionModel | None = None,
) -> Subject:
    """What a client sends of these images, steps and noise, and all that is true of it."""
    leaves = {name: value.clone().requires_grad_() for name, value in victim.parameters.items()}
    sent = gradient(victim.loss(leaves, truth.x, (t, eps)), leaves)
    update = Update("gradient", sent, 1, client, len(truth))
    _, channels, height, width = truth.x.shape
    return Subject(
        victim=victim, observed=(Observed(victim.parameters, update.checked()),),
        shape=(channels, height, width), n=len(truth), n_classes=n_classes,
        facts=Knowledge(t=tuple(t.tolist()), noise=True, batch=len(truth)), truth=truth,
        noise=eps, prior=prior,
    )  # fmt: skip


def draw_images(data: ImageData, n: int, seed: int) -> np.ndarray:
    """Indices of n different training images. Raises DataError where there are fewer."""
    if n > len(data.train):
        raise DataError(f"a client of {n} images: {data.name} has {len(data.train)}")
    return stream(seed, "audited client").choice(len(data.train), n, replace=False)


def facts_of(recipe: Recipe, plan: Plan, labels: tuple[int, ...]) -> Knowledge:
    """All that is true of a client that followed this plan."""
    if isinstance(recipe.local, FullGradient):
        return Knowledge(labels=labels, batch=recipe.images)
    place = {int(image): at for at, image in enumerate(plan.part)}
    order = tuple(
        tuple(place[int(image)] for image in batch if image >= 0) for batch in plan.batches
    )
    return Knowledge(
        labels=labels, lr=plan.lr, steps=len(order), batch=min(recipe.local.batch, recipe.images),
        order=order,
    )  # fmt: skip
