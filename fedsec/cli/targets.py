"""From options to what is attacked: a client that is made, or an update that somebody sent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from fedsec.cli.checks import at_least, first, goes_with, one_of
from fedsec.cli.networks import network_of
from fedsec.cli.presets import preset_of
from fedsec.cli.target import TargetFlags
from fedsec.cli.training import ALGORITHMS, device_of
from fedsec.core.functional import State, state_of
from fedsec.core.record import Knowledge, Update
from fedsec.data.images import ImageData, Images, load_images
from fedsec.errors import DataError, SettingsError
from fedsec.federated.local import FullGradient, LocalTraining
from fedsec.inversion.audit.client import Recipe, make_client
from fedsec.inversion.audit.subject import Subject
from fedsec.inversion.case import Observed
from fedsec.inversion.files import read_state, read_update
from fedsec.inversion.layers import refuse_unfit
from fedsec.inversion.recordings import read_round, recorded_rounds
from fedsec.inversion.true_images import UNKNOWN, read_truth
from fedsec.inversion.victim import Victim, classifier

VICTIMS = ("classifier", "diffusion")
USUAL_IMAGES, USUAL_RATE = 4, 0.01
MOST_ALIKE = 8  # images of clients that stand in for one that sent: more take long


@dataclass(frozen=True, eq=False)
class Target:
    """What is attacked.

    net      with the parameters that its maker gave it
    recipe   of the client; of one that sent an update, as far as it is known
    model    what to call the network
    client   where the update is from, in words
    """

    subject: Subject
    images: ImageData
    net: nn.Module
    recipe: Recipe
    model: str
    client: str
    device: str


def target_of(flags: TargetFlags) -> Target:
    """What the options name.

    Raises SettingsError, DataError or UpdateError where it is not there, does not fit, or options
    contradict each other.
    """
    check_target(flags)
    if flags.victim == "diffusion":
        from fedsec.cli.diffusion_target import diffusion_target

        return diffusion_target(flags)
    images = load_images(flags.data, flags.data_dir)
    device = device_of(flags.device)
    net_name = None if flags.model else flags.net or preset_of(flags.data).net
    net = network_of(net_name, flags.model, images, flags.seed)
    state = state_of(net) if flags.weights is None else read_state(flags.weights, net)
    made = flags.update is None and flags.recording is None
    found = _made(flags, images, net, state, device) if made else _sent(
        flags, images, net, state, device
    )  # fmt: skip
    subject, recipe, client = found
    return Target(subject, images, net, recipe, flags.model or str(net_name), client, device)


def check_target(flags: TargetFlags) -> None:
    """Raises SettingsError for what can be refused before anything is read."""
    one_of("--victim", flags.victim, VICTIMS)
    made = flags.update is None and flags.recording is None
    diffusion = flags.victim == "diffusion"
    for option, given, allowed, other in (
        *((f"--{name}", getattr(flags, name), diffusion, "--victim diffusion")
          for name in ("prior", "t", "noise")),
        *((f"--{name}", getattr(flags, name), not diffusion, "--victim classifier")
          for name in ("net", "model", "batch", "epochs", "labels", "steps", "order")),
        ("--lr", flags.lr, not (diffusion and made), "what was sent, or --victim classifier"),
        ("--batch-statistics", flags.batch_statistics or None, not diffusion,
         "--victim classifier"),
        ("--noise", flags.noise, not made, "--update and --recording"),
        ("--net", flags.net, flags.model is None, "the networks here, and --model is given"),
        ("--recording", flags.recording, flags.update is None, "no --update beside it"),
        ("--weights", flags.weights, flags.recording is None, "what is not a --recording, which"
         " holds the model"),
        ("--images", flags.images, made, "a client that is made: for one that sent, give --n"),
        ("--epochs", flags.epochs, made, "a client that is made: for one that sent, give --steps"),
        ("--algorithm", flags.algorithm, made, "a client that is made"),
        ("--kind", flags.kind, flags.update is not None, "--update"),
        ("--round", flags.round, flags.recording is not None, "--recording"),
        ("--client", flags.client, flags.recording is not None, "--recording"),
        *((f"--{name}", getattr(flags, name), not made, "--update and --recording")
          for name in ("n", "labels", "steps", "order", "truth")),
        *((f"--{name}", getattr(flags, name), flags.algorithm != "fedsgd", "--algorithm fedavg")
          for name in ("batch", "epochs", "lr")),
    ):  # fmt: skip
        goes_with(option, given, allowed, other)
    if flags.update is not None and flags.weights is None and flags.model is None:
        raise SettingsError("--update needs the parameters that the client was sent: --weights")
    if flags.algorithm is not None:
        one_of("--algorithm", flags.algorithm, ALGORITHMS)
    for option in ("images", "batch", "epochs", "n", "steps"):
        at_least(f"--{option}", getattr(flags, option), 1)
    at_least("--seed", flags.seed, 0)


def _made(
    flags: TargetFlags, images: ImageData, net: nn.Module, state: State, device: str
) -> tuple[Subject, Recipe, str]:
    n = first(flags.images, USUAL_IMAGES)
    local: LocalTraining | FullGradient = FullGradient()
    if flags.algorithm != "fedsgd":
        local = LocalTraining(
            epochs=first(flags.epochs, 1), batch=first(flags.batch, n),
            lr=first(flags.lr, USUAL_RATE),
        )  # fmt: skip
    recipe = Recipe(images=n, local=local)
    victim = _victim(flags, net, state, images, device)
    subject = make_client(victim, images, recipe, flags.seed)
    return subject, recipe, f"a client made from {images.name} ({recipe}), seed {flags.seed}"


def _sent(
    flags: TargetFlags, images: ImageData, net: nn.Module, state: State, device: str
) -> tuple[Subject, Recipe, str]:
    seen, client = _observed(flags, net, state)
    if flags.n is not None:
        seen = [(sent, replace(update, n=flags.n)) for sent, update in seen]
    _, channels, height, width = images.train.x.shape
    shape, n_classes = (channels, height, width), len(images.classes)
    truth = None if flags.truth is None else read_truth(flags.truth, shape, n_classes)
    labels = labels_of(flags.labels, images)
    if labels is None and truth is not None and int(truth.y.min()) != UNKNOWN:
        labels = tuple(truth.y.tolist())
    n = n_images(seen[0][1], labels, truth, flags.truth)
    victim = _victim(flags, net, seen[0][0], images, device)
    if truth is not None and labels is not None:
        truth = Images(truth.x, torch.tensor(labels))
    subject = Subject(
        victim=victim,
        observed=tuple(
            Observed(one.to(device).parameters, _on(sent, device)) for one, sent in seen
        ),
        shape=shape, n=n, n_classes=n_classes,
        facts=Knowledge(
            labels=labels, lr=flags.lr, steps=flags.steps, batch=flags.batch,
            order=order_of(flags.order),
        ),
        truth=None if truth is None else truth.to(device),
    )  # fmt: skip
    return subject, _alike(flags, n, seen[0][1].kind == "gradient"), client


def _alike(flags: TargetFlags, n: int, gradient: bool) -> Recipe:
    """How clients train that stand in for the one that sent, as far as that is known."""
    images = min(n, MOST_ALIKE)
    if gradient:
        return Recipe(images=images, local=FullGradient())
    batch = min(first(flags.batch, images), images)
    return Recipe(
        images=images, local=LocalTraining(batch=batch, lr=first(flags.lr, USUAL_RATE))
    )  # fmt: skip


def _observed(
    flags: TargetFlags, net: nn.Module, state: State
) -> tuple[list[tuple[State, Update]], str]:
    """(what was sent, what came back) round by round, and whose it is in words."""
    if flags.update is not None:
        update = read_update(flags.update, net, state, kind=flags.kind, n=flags.n)
        return [(state, update)], f"the update in {Path(flags.update).name}"
    assert flags.recording is not None
    rounds = recorded_rounds(flags.recording)
    of_client = [one for one, who in rounds.items() if flags.client in (None, *who)]
    numbers = flags.round or (of_client or list(rounds))[:1]
    client = first(flags.client, rounds.get(numbers[0], [0])[0])
    seen = [read_round(flags.recording, number, client, net) for number in numbers]
    which = f"round{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
    return seen, f"client {client}, {which} of {Path(flags.recording).name}"


def _victim(
    flags: TargetFlags, net: nn.Module, state: State, images: ImageData, device: str
) -> Victim:
    """On the device; refused where it cannot be attacked, before any attack is."""
    victim = classifier(net, state, batch_statistics=flags.batch_statistics).to(device)
    _, channels, height, width = images.train.x.shape
    return refuse_unfit(victim, (channels, height, width), len(images.classes))


def n_images(
    update: Update, labels: tuple[int, ...] | None, truth: Images | None, path: str | None
) -> int:
    """How many images the client trained on, as all that was given agrees.

    Raises SettingsError or DataError where nobody says, or it does not agree.
    """
    n = update.n or len(labels or ()) or (0 if truth is None else len(truth))
    if not n:
        raise SettingsError("nobody says how many images the client trained on: give --n")
    if truth is not None and len(truth) != n:
        raise DataError(
            f"{path}: {len(truth)} images, where the client trained on {n}: give all of them"
        )
    if labels is not None and len(labels) != n:
        raise SettingsError(f"{len(labels)} labels for {n} images of the client: give one each")
    return n


def labels_of(text: str | None, images: ImageData) -> tuple[int, ...] | None:
    """Classes, by code or name, separated by commas. Raises SettingsError."""
    if text is None:
        return None
    found = []
    for part in (one.strip() for one in text.split(",")):
        if part in images.classes:
            found.append(images.classes.index(part))
        elif part.isdecimal() and int(part) < len(images.classes):
            found.append(int(part))
        else:
            raise SettingsError(
                f"--labels: {part!r} is no class: give 0 to {len(images.classes) - 1}, as 3,1,4,1"
            )
    return tuple(found)


def order_of(text: str | None) -> tuple[tuple[int, ...], ...] | None:
    """Batches separated by semicolons, images in them by commas. Raises SettingsError."""
    if text is None:
        return None
    try:
        return tuple(tuple(int(one) for one in batch.split(",")) for batch in text.split(";"))
    except ValueError:
        raise SettingsError(
            f"--order {text!r}: write the images of each step, as 0,1;2,3"
        ) from None


def _on(update: Update, device: str) -> Update:
    return replace(
        update, tensors={name: value.to(device) for name, value in update.tensors.items()}
    )
