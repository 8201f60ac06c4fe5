"""The victim that the options name: from a file, trained here, or behind a URL."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fedsec.cli.checks import at_least, goes_with, one_of
from fedsec.cli.networks import network_of
from fedsec.cli.steal import StealFlags
from fedsec.core.functional import State, load_state
from fedsec.core.rng import torch_stream
from fedsec.data.images import ImageData, Images
from fedsec.errors import DataError, SettingsError
from fedsec.inversion.files import read_state, read_tensors
from fedsec.nets import NETS, make_net
from fedsec.stealing.remote import RemoteOracle
from fedsec.stealing.victims import recipe_for, train_victim

Bar = Callable[[float, float, str], None]
"""(done, of how many, what)."""
Label = Callable[[Tensor], Tensor]
"""Images to labels, as the owner gets them: without a defence, and not counted."""


@dataclass(frozen=True, eq=False)
class Local:
    """A victim that is at hand.

    net_name   of the table NETS, or as the user called it
    trained    whether it was trained here, so that it is to be written
    """

    net: nn.Module
    state: State
    net_name: str
    trained: bool

    def __str__(self) -> str:
        return f"{self.net_name}{', trained here' if self.trained else ''}"


@dataclass(frozen=True)
class Remote:
    """A victim behind a URL."""

    url: str
    headers: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return self.url


def victim_of(
    flags: StealFlags, images: ImageData, device: str, *, kept: Path | None = None, bar: Bar
) -> Local | Remote:
    """The victim; one that was trained for this folder before is read from `kept`.

    Raises SettingsError, DataError or UpdateError where it is not there, or does not fit.
    """
    check_victim(flags)
    if flags.url is not None:
        return Remote(flags.url, tuple(_header(text) for text in flags.header or []))
    if flags.train_victim:
        if flags.net is not None:
            one_of("--net", flags.net, NETS)
        recipe = recipe_for(images)
        recipe = recipe if flags.net is None else replace(recipe, net=flags.net)
        if kept is not None and kept.exists():
            net = make_net(recipe.net, images, flags.seed).to(device).eval()
            state = read_state(kept, net).to(device)
            return Local(load_state(net, state), state, recipe.net, True)
        net, state = train_victim(
            images, flags.seed, recipe,
            progress=lambda made, of, loss: bar(made, of, f"the victim, loss {loss:.3g}"),
        )  # fmt: skip
        return Local(net, state, recipe.net, True)
    assert flags.victim is not None
    name = flags.model or flags.net or _net_said(flags.victim)
    net = network_of(None if flags.model else name, flags.model, images, flags.seed)
    state = read_state(flags.victim, net).to(device)
    net = load_state(net, state).to(device)
    _refuse_unfit(flags.victim, net, images, device)
    return Local(net, state, name, False)


def check_victim(flags: StealFlags) -> None:
    """Raises SettingsError for what can be refused before anything is read or trained."""
    given = [
        name
        for name, one in (
            ("--victim", flags.victim), ("--train-victim", flags.train_victim or None),
            ("--url", flags.url),
        )
        if one is not None
    ]  # fmt: skip
    if not given:
        raise SettingsError(
            "whose model? Give --victim FILE, --url ADDRESS, or --train-victim to train one"
        )
    if len(given) > 1:
        raise SettingsError(f"{' and '.join(given)}: give one of them")
    local = flags.url is None
    for option, one, allowed, other in (
        ("--header", flags.header or None, not local, "--url"),
        ("--defence", flags.defence or None, local, "a victim that is at hand"),
        ("--net", flags.net, local, "a victim that is at hand"),
        ("--model", flags.model, flags.victim is not None, "--victim"),
        ("--net", flags.net, flags.model is None, "the networks here, and --model is given"),
        ("--limit", flags.limit, flags.train_victim, "--train-victim"),
    ):
        goes_with(option, one, allowed, other)
    at_least("--limit", flags.limit, 1)
    at_least("--test-limit", flags.test_limit, 1)
    at_least("--seed", flags.seed, 0)


def limited(images: ImageData, flags: StealFlags) -> ImageData:
    """With as many images as the options say, drawn by the seed."""
    return replace(
        images,
        train=_some(images.train, flags.limit, flags.seed, "steal limit"),
        test=_some(images.test, flags.test_limit, flags.seed, "steal test limit"),
    )


def owner_answers(oracle: RemoteOracle) -> Label:
    """Labels of a URL that the owner asks about, a batch at a time."""
    return lambda x: oracle(x) if oracle.mode == "labels" else oracle(x).argmax(dim=1)


def write_model(path: Path, state: State, net_name: str, data: str) -> None:
    """A model file as `fedsec train` writes it, whole or not at all."""
    part = path.with_name(path.name + ".part")
    save_file(
        {name: value.cpu().contiguous()
         for name, value in {**state.parameters, **state.buffers}.items()},
        part, metadata={"fedsec": json.dumps({"net": net_name, "data": data})},
    )  # fmt: skip
    os.replace(part, path)


def _net_said(path: str) -> str:
    """The network that a file of ours names."""
    name = read_tensors(path).about.get("net")
    if name in NETS:
        return str(name)
    raise SettingsError(
        f"{path}: does not say which network it is of: give --net, or --model for your own"
    )


def _refuse_unfit(path: str, net: nn.Module, images: ImageData, device: str) -> None:
    """It answers images of the data set, with a logit for each class."""
    x, n = images.test.x[:2].to(device), len(images.classes)
    try:
        with torch.no_grad():
            found = net.eval()(x)
    except (RuntimeError, ValueError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise DataError(
            f"{path}: does not take {tuple(x.shape[1:])} images of {images.name} ({first}): name"
            " the victim's own by --data"
        ) from error
    if not isinstance(found, Tensor) or found.shape != (len(x), n):
        what = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise DataError(
            f"{path}: gives {what} for {len(x)} images: {images.name} has {n} classes, so one"
            " logit for each is needed"
        )


def _some(images: Images, n: int | None, seed: int, purpose: str) -> Images:
    if n is None or n >= len(images):
        return images
    return images.subset(torch.randperm(len(images), generator=torch_stream(seed, purpose))[:n])


def _header(text: str) -> tuple[str, str]:
    name, _, value = (part.strip() for part in text.partition(":"))
    if not (name and value):
        raise SettingsError("--header: write 'NAME: VALUE', as 'Authorization: Bearer KEY'")
    return name, value
