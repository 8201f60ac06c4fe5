"""From options to a client that trains a diffusion model: one that is made, or one that sent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from fedsec.cli.checks import first
from fedsec.cli.target import TargetFlags
from fedsec.cli.targets import MOST_ALIKE, Target, n_images
from fedsec.cli.training import device_of
from fedsec.core.functional import State, state_of
from fedsec.core.record import Knowledge, Update
from fedsec.data.images import ImageData, load_images
from fedsec.diffusion.model import DiffusionModel, described, load_model, new_model
from fedsec.errors import DataError, SettingsError
from fedsec.federated.local import FullGradient
from fedsec.inversion.audit.client import Recipe, make_diffusion_client
from fedsec.inversion.audit.subject import Subject
from fedsec.inversion.case import Observed
from fedsec.inversion.denoiser import DiffusionVictim, refuse_unfit_denoiser, victim_of
from fedsec.inversion.files import read_tensors, read_update
from fedsec.inversion.recordings import read_round, recorded_rounds
from fedsec.inversion.true_images import read_truth

SMALL = {"kind": "unet", "width": 16, "mults": [1, 2, 4]}  # with the channels of the images
USUAL_IMAGES = 1


def diffusion_target(flags: TargetFlags) -> Target:
    """What the options name, of `--victim diffusion`.

    Raises SettingsError, DataError or UpdateError where it is not there or does not fit.
    """
    if flags.algorithm == "fedavg":
        raise SettingsError(
            "--algorithm fedavg: clients of a diffusion model are attacked by one gradient: fedsgd"
        )
    images = load_images(flags.data, flags.data_dir)
    device = device_of(flags.device)
    _, channels, height, width = images.train.x.shape
    shape = (channels, height, width)
    prior = None if flags.prior is None else _model(flags.prior, shape)
    model = _victims_model(flags, prior, shape)
    if prior is None and flags.weights is not None:
        prior = model
    prior = None if prior is None else prior.to(device)
    made = flags.update is None and flags.recording is None
    subject, recipe, client = (
        _made(flags, images, model, prior, device)
        if made
        else _sent(flags, images, model, prior, device)
    )
    name = (
        f"{'untrained ' if flags.weights is None and made else ''}{described(model.architecture)}"
    )
    return Target(subject, images, model.net, recipe, name, client, device)


def times_of(text: str | None) -> tuple[int, ...] | None:
    """Time steps, separated by commas. Raises SettingsError."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise SettingsError(f"--t {text!r}: write whole numbers, as 3,7") from None


def _model(path: str, shape: tuple[int, int, int]) -> DiffusionModel:
    model = load_model(path)
    if tuple(model.shape) != shape:
        raise SettingsError(
            f"{path}: a model of images of {' x '.join(map(str, model.shape))}, and the data set's"
            f" are {' x '.join(map(str, shape))}"
        )
    return model


def _victims_model(
    flags: TargetFlags, prior: DiffusionModel | None, shape: tuple[int, int, int]
) -> DiffusionModel:
    """That of --weights; without it an untrained one, of the prior's form where there is one."""
    if flags.weights is not None:
        return _model(flags.weights, shape)
    if prior is None:
        return new_model({**SMALL, "channels": shape[0]}, shape, seed=flags.seed)
    return new_model(
        prior.architecture, shape, schedule=prior.schedule, objective=prior.objective,
        seed=flags.seed,
    )  # fmt: skip


def _made(
    flags: TargetFlags, images: ImageData, model: DiffusionModel, prior: DiffusionModel | None,
    device: str,
) -> tuple[Subject, Recipe, str]:  # fmt: skip
    recipe = Recipe(images=first(flags.images, USUAL_IMAGES), local=FullGradient())
    t = times_of(flags.t)
    if t is not None and len(t) != recipe.images:
        raise SettingsError(
            f"--t has {len(t)} time steps for {recipe.images} images: give one each"
        )
    if t is not None and not all(0 <= step < model.schedule.steps for step in t):
        raise SettingsError(f"--t {flags.t}: the model has steps 0 to {model.schedule.steps - 1}")
    subject = make_diffusion_client(
        _victim(model, device), images, recipe, flags.seed, t=t, prior=prior
    )
    return subject, recipe, f"a client made from {images.name} ({recipe}), seed {flags.seed}"


def _sent(
    flags: TargetFlags, images: ImageData, model: DiffusionModel, prior: DiffusionModel | None,
    device: str,
) -> tuple[Subject, Recipe, str]:  # fmt: skip
    (sent, update), client = _observed(flags, model)
    update = as_gradient(update, flags.lr)
    if flags.n is not None:
        update = replace(update, n=flags.n)
    shape = model.shape
    truth = None if flags.truth is None else read_truth(flags.truth, shape, len(images.classes))
    n = n_images(update, None, truth, flags.truth)
    noise = None if flags.noise is None else read_noise(flags.noise, (n, *shape))
    victim = _victim(model, device).with_parameters(sent.to(device).parameters)
    moved = {name: value.to(device) for name, value in update.tensors.items()}
    subject = Subject(
        victim=victim, observed=(Observed(victim.parameters, replace(update, tensors=moved)),),
        shape=shape, n=n, n_classes=len(images.classes),
        facts=Knowledge(t=times_of(flags.t), noise=None if noise is None else True, batch=n),
        truth=None if truth is None else truth.to(device),
        noise=None if noise is None else noise.to(device), prior=prior,
    )  # fmt: skip
    return subject, Recipe(images=min(n, MOST_ALIKE), local=FullGradient()), client


def _observed(flags: TargetFlags, model: DiffusionModel) -> tuple[tuple[State, Update], str]:
    """What was sent, what came back, and whose it is in words."""
    if flags.update is not None:
        state = state_of(model.net)
        update = read_update(flags.update, model.net, state, kind=flags.kind, n=flags.n)
        return (state, update), f"the update in {Path(flags.update).name}"
    assert flags.recording is not None
    rounds = recorded_rounds(flags.recording)
    of_client = [one for one, who in rounds.items() if flags.client in (None, *who)]
    numbers = flags.round or (of_client or list(rounds))[:1]
    if len(numbers) > 1:
        raise SettingsError(
            "--round: clients of a diffusion model draw anew in every round: attack one at a time"
        )
    client = first(flags.client, rounds.get(numbers[0], [0])[0])
    seen = read_round(flags.recording, numbers[0], client, model.net)
    return seen, f"client {client}, round {numbers[0]} of {Path(flags.recording).name}"


def as_gradient(update: Update, lr: float | None) -> Update:
    """A gradient; of what one local step at this rate changed, the gradient that it took.

    Raises SettingsError where the rate is needed and not given.
    """
    if update.kind == "gradient":
        return update
    if lr is None or not lr > 0:
        raise SettingsError(
            "the client sent a change of parameters: give --lr, the rate of the one step that it"
            " took, to have its gradient"
        )
    tensors = {name: value / -lr for name, value in update.tensors.items()}
    return replace(update, kind="gradient", tensors=tensors)


def read_noise(path: str, shape: tuple[int, ...]) -> Tensor:
    """The array eps of an npz file. Raises DataError where it is not there, or of another form."""
    stored = read_tensors(path).tensors
    if "eps" not in stored:
        raise DataError(f"{path}: has no array 'eps', only {', '.join(stored) or 'none'}")
    eps = stored["eps"].float()
    if tuple(eps.shape) != shape or not bool(torch.isfinite(eps).all()):
        raise DataError(
            f"{path}: eps has shape {tuple(eps.shape)}: give finite numbers of shape {shape}"
        )
    return eps


def _victim(model: DiffusionModel, device: str) -> DiffusionVictim:
    return refuse_unfit_denoiser(victim_of(model).to(device), model.shape)
