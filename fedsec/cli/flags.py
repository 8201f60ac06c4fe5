"""The options that training commands share, each declared once.

`Flags` holds what a user gave; None is what was left to the defaults, which depend on the data set
(see `presets`). `with_flags` gives a command all of them as options of its own; `with_options` does
so for other sets of options.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer

BY_DATA = "by data set"
PARTITIONS = ("mavericks", "iid", "dirichlet", "shards", "quantity")


def option(panel: str, text: str, default: str | bool = True, name: str | None = None) -> Any:
    names = [name] if name else []
    return typer.Option(*names, help=text, show_default=default, rich_help_panel=panel)


DATA, TRAINING = "Data and clients", "Training"
SELECTION, PRIVACY, RUNNING = "Selection", "What clients do before they send", "Running"

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON lines in place of tables.")]


@dataclass(frozen=True)
class Flags:
    """What to train on, how, and with whom; as given, in the order of the help."""

    data: Annotated[
        str,
        option(DATA, "digits, mnist, fashion-mnist, cifar10, or the path of an .npz file."),
    ] = "digits"
    data_dir: Annotated[
        str | None, option(DATA, "Folder with the .npz files, in place of FEDSEC_DATA.")
    ] = None
    limit: Annotated[
        int | None, option(DATA, "Train on so many images, drawn at random.", "all")
    ] = None
    test_limit: Annotated[
        int | None, option(DATA, "Test on so many images, drawn at random.", "all")
    ] = None
    hold_out: Annotated[
        int | None,
        option(
            DATA,
            "Value contributions on so many training images, which no client gets.",
            "the test images",
        ),
    ] = None
    clients: Annotated[int, option(DATA, "Clients in all.")] = 50
    partition: Annotated[
        str, option(DATA, f"How they divide the images: {', '.join(PARTITIONS)}.")
    ] = "mavericks"
    mavericks: Annotated[
        int | None, option(DATA, "Clients, the first ones, that alone hold a class.", "1")
    ] = None
    maverick_class: Annotated[
        list[str] | None,
        option(DATA, "Code or name of the class of a Maverick; repeatable.", "1, 0, 2, 3, ..."),
    ] = None
    shared: Annotated[
        bool,
        option(DATA, "The Mavericks share one class, in place of one for each.", name="--shared"),
    ] = False
    partition_alpha: Annotated[
        float | None,
        option(DATA, "Of dirichlet and quantity: near 0 clients differ much.", "0.5"),
    ] = None
    shards_per_client: Annotated[int | None, option(DATA, "Of shards.", "2")] = None

    net: Annotated[
        str | None,
        option(
            TRAINING,
            "linear, mlp, cnn, cnn-bn, cnn-gn, cnn3, cnn6, lenet-sigmoid, resnet.",
            BY_DATA,
        ),
    ] = None
    algorithm: Annotated[
        str,
        option(
            TRAINING,
            "fedavg (local training), or fedsgd (clients send one gradient over all their images).",
        ),
    ] = "fedavg"
    rounds: Annotated[int | None, option(TRAINING, "Rounds in all.", BY_DATA)] = None
    per_round: Annotated[int, option(TRAINING, "Clients in a round.")] = 5
    epochs: Annotated[int | None, option(TRAINING, "Local epochs.", BY_DATA)] = None
    batch: Annotated[int | None, option(TRAINING, "Images in a local step.", BY_DATA)] = None
    lr: Annotated[float | None, option(TRAINING, "Learning rate.", BY_DATA)] = None
    momentum: Annotated[float | None, option(TRAINING, "Of the local steps.", BY_DATA)] = None
    weight_decay: Annotated[float | None, option(TRAINING, "Of the local steps.", "0")] = None
    prox: Annotated[
        float | None, option(TRAINING, "FedProx: pull to the model that was received.", "0")
    ] = None
    schedule: Annotated[
        str | None,
        option(
            TRAINING,
            "What makes the learning rate fall: per-client (rounds that a client took part in),"
            " global (all rounds), none.",
            "per-client; none for fedsgd",
        ),
    ] = None
    lr_step: Annotated[int | None, option(TRAINING, "It falls every so many rounds.", BY_DATA)] = (
        None
    )
    lr_gamma: Annotated[float | None, option(TRAINING, "By this factor.", BY_DATA)] = None
    weighting: Annotated[
        str, option(TRAINING, "Of the updates in their mean: samples or uniform.")
    ] = "samples"

    alpha: Annotated[
        float | None, option(SELECTION, "FedEMD: weight of the distance to all data.", BY_DATA)
    ] = None
    beta: Annotated[
        float | None,
        option(SELECTION, "FedEMD: weight of the distance to data seen, a round.", BY_DATA),
    ] = None
    settings: Annotated[
        list[str] | None,
        option(
            SELECTION,
            "Another setting of a selector, NAME=VALUE, such as n_candidates=20; repeatable.",
            name="--set",
        ),
    ] = None

    clip: Annotated[float | None, option(PRIVACY, "Clip its update to this L2 norm.", False)] = None
    noise: Annotated[
        float | None, option(PRIVACY, "Add Gaussian noise of so many times --clip.", False)
    ] = None
    delta: Annotated[
        float | None,
        option(PRIVACY, "With --noise: report epsilon for this delta (extra 'dp').", False),
    ] = None
    top_k: Annotated[
        float | None, option(PRIVACY, "Send this share of the entries, the largest.", False)
    ] = None
    bits: Annotated[
        int | None, option(PRIVACY, "Send so many bits an entry, rounded at random.", False)
    ] = None

    evaluate_every: Annotated[int, option(RUNNING, "Rounds from one test to the next.")] = 1
    skip_bad_updates: Annotated[
        bool,
        option(
            RUNNING,
            "Leave out an update that is not finite, and go on.",
            name="--skip-bad-updates",
        ),
    ] = False
    device: Annotated[str, option(RUNNING, "auto, cpu or cuda.")] = "auto"
    seed: Annotated[int, option(RUNNING, "Of all that is drawn; the first of several.")] = 0


Command = Callable[..., None]


def with_options(kind: type[Any]) -> Callable[[Command], Command]:
    """For a command whose first parameter is `flags`: the fields of `kind` as options instead.

    Typer reads options off a signature; this one is the fields and what else the command takes.
    """

    def decorate(command: Command) -> Command:
        hints = get_type_hints(kind, include_extras=True)
        own = get_type_hints(command, include_extras=True)
        taken = {name: p.default for name, p in inspect.signature(command).parameters.items()}
        taken.pop("flags")
        defaults = {field.name: field.default for field in fields(kind)} | taken
        annotations = {name: hints.get(name) or own[name] for name in defaults}

        @wraps(command)
        def expanded(**given: Any) -> None:
            flags = kind(**{name: given.pop(name) for name in hints})
            command(flags, **given)

        expanded.__annotations__ = annotations
        expanded.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                inspect.Parameter(
                    name, inspect.Parameter.KEYWORD_ONLY, default=default,
                    annotation=annotations[name],
                )
                for name, default in defaults.items()
            ]
        )  # fmt: skip
        del expanded.__wrapped__
        return expanded

    return decorate


with_flags = with_options(Flags)
"""Gives a command the options of training."""
