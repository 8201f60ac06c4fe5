"""A denoiser with all that belongs to it: its schedule, its objective, the form of its images.

A file that `save_model` writes is safetensors, and never a pickle. Its metadata is JSON: how the
network is built (`architecture`), what it answers and for images of which form; so `load_model`
needs nothing but the path. Schedules are kept as float64, to the bit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from pathlib import Path
from threading import Lock
from typing import Any, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fedsec.core.rng import torch_stream
from fedsec.diffusion.objectives import OBJECTIVES, Pictures, Times, to_pixels
from fedsec.diffusion.samplers import ddim_sample, time_list
from fedsec.diffusion.schedule import NoiseSchedule, noise_schedule
from fedsec.errors import DataError, SettingsError
from fedsec.nets.diffusers_unet import DiffusersUNet
from fedsec.nets.unet import DiffusionUNet

FORMAT = "fedsec diffusion 1"

Shape = tuple[int, int, int]
"""(channel, height, width)."""


@runtime_checkable
class Denoiser(Protocol):
    """What every network of the table DENOISERS has beside being a module.

    time_layer  name of the first layer that sees the time, a Linear with a bias
    """

    time_layer: str

    def hidden(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The answer, and the features that its last convolution makes it of."""

    def embed_time(self, t: Tensor) -> Tensor:
        """(sample, feature): what `time_layer` is given; no parameter takes part."""

    def refuse(self, shape: Sequence[int]) -> None:
        """Raises SettingsError where images of this form do not fit."""


DENOISERS: dict[str, Callable[..., nn.Module]] = {"unet": DiffusionUNet, "diffusers": DiffusersUNet}
"""Kind of an architecture -> its class, whose arguments are the rest of the architecture."""

_one_at_a_time = Lock()


@dataclass(frozen=True, eq=False)
class DiffusionModel:
    """A denoiser and what it was made for.

    net           (x_t in model space, t) -> what the objective asks for; of the table DENOISERS
    schedule      its steps, 0 to T - 1
    objective     "eps", "v" or "x0"
    shape         (channel, height, width) of its images
    architecture  {"kind": ..., and the arguments of that kind's class}, as JSON has it
    time_map      what the network is told in place of step k, where its times are not its steps

    Raises SettingsError where these do not fit each other.
    """

    net: nn.Module = field(repr=False)
    schedule: NoiseSchedule = field(repr=False)
    objective: str
    shape: Shape
    architecture: Mapping[str, Any]
    time_map: Int[Tensor, " step"] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise SettingsError(
                f"there is no objective {self.objective!r}: choose from {', '.join(OBJECTIVES)}"
            )
        if self.time_map is not None and len(self.time_map) != self.schedule.steps:
            raise SettingsError(
                f"time_map has {len(self.time_map)} steps, where the schedule has"
                f" {self.schedule.steps}: give one each"
            )
        if isinstance(self.net, Denoiser):
            self.net.refuse(self.shape)

    @property
    def device(self) -> torch.device:
        """Where the network's parameters lie."""
        return next(self.net.parameters()).device

    def to(self, device: torch.device | str) -> DiffusionModel:
        """This model with its network moved to a device, in place, and its schedule there."""
        time_map = None if self.time_map is None else self.time_map.to(device)
        return DiffusionModel(
            self.net.to(device), self.schedule.to(device), self.objective, self.shape,
            self.architecture, time_map,
        )  # fmt: skip

    def predict(self, x: Pictures, t: Times) -> Pictures:
        """The network's answer at steps t of the schedule."""
        told = t if self.time_map is None else self.time_map.to(t.device)[t]
        answer: Tensor = self.net(x, told)
        return answer

    def sample(
        self,
        n: int,
        *,
        steps: int | None = None,
        eta: float | int = 0.0,
        generator: torch.Generator,
        batch: int = 256,
    ) -> Pictures:
        """n new images in [0, 1], by DDIM in `steps` steps (all where None), `batch` at a time.

        The noise that they begin with is drawn at once, where the generator is, so at eta 0 the
        batch changes nothing but rounding. No gradients. Raises SettingsError for numbers out of
        their range.
        """
        if n < 1 or batch < 1:
            raise SettingsError(f"n = {n}, batch = {batch}: give at least 1")
        times = time_list(self.schedule.steps, self.schedule.steps if steps is None else steps)
        z = torch.randn(n, *self.shape, generator=generator, device=generator.device)
        draw = partial(
            ddim_sample, self.predict, self.schedule, self.objective, times=times, eta=eta,
            generator=generator,
        )  # fmt: skip
        with torch.no_grad():
            parts = [draw(some) for some in z.to(self.device).split(batch)]
        return to_pixels(torch.cat(parts)).clamp(0, 1)


def new_model(
    architecture: Mapping[str, Any],
    shape: Shape,
    *,
    schedule: NoiseSchedule | None = None,
    objective: str = "v",
    seed: int = 0,
) -> DiffusionModel:
    """An untrained model on the CPU; a sigmoid schedule of 16 steps where none is given.

    Raises SettingsError for an architecture that there is not, or that does not take such images.
    """
    net = make_denoiser(architecture, seed)
    return DiffusionModel(
        net, noise_schedule() if schedule is None else schedule, objective, shape,
        json.loads(json.dumps(dict(architecture))),
    )  # fmt: skip


def make_denoiser(architecture: Mapping[str, Any], seed: int) -> nn.Module:
    """The network of an architecture, on the CPU, in float32 and training mode.

    Its parameters are drawn from our stream (seed, "net"), as `fedsec.nets.make_net` does it.
    Raises SettingsError for a kind or an argument that there is not; ImportError, which names the
    extra, for "diffusers" without that package.
    """
    kind = architecture.get("kind")
    if kind not in DENOISERS:
        raise SettingsError(f"there is no denoiser {kind!r}: choose from {', '.join(DENOISERS)}")
    known = list(signature(DENOISERS[kind].__init__).parameters)[1:]
    given = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in architecture.items()
        if name != "kind"
    }
    for name in given:
        if name not in known:
            raise SettingsError(f"{name!r}: {kind} has no such argument: it has {', '.join(known)}")
    with _one_at_a_time, torch.random.fork_rng(devices=[]):
        torch.default_generator.set_state(torch_stream(seed, "net").get_state())
        return DENOISERS[kind](**given)


def save_model(
    path: str | Path, model: DiffusionModel, record: Mapping[str, Any] | None = None
) -> None:
    """Write a model to a safetensors file, whole or not at all.

    `record` is what else to keep of how it came about, as JSON; `load_model` does not need it.
    """
    path = Path(path).expanduser()
    tensors = {f"net.{name}": value for name, value in model.net.state_dict().items()}
    tensors["alpha_bar"] = model.schedule.alpha_bar
    if model.time_map is not None:
        tensors["time_map"] = model.time_map
    about = {
        "format": FORMAT, "architecture": dict(model.architecture), "objective": model.objective,
        "shape": list(model.shape), "record": dict(record or {}),
    }  # fmt: skip
    part = path.with_name(path.name + ".part")
    stored = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    save_file(stored, part, metadata={"fedsec": json.dumps(about)})
    os.replace(part, path)


def load_model(path: str | Path, architecture: Mapping[str, Any] | None = None) -> DiffusionModel:
    """Read what `save_model` wrote: a model on the CPU, its network in evaluation mode.

    Raises DataError where the file is something else, or not whole, or does not hold what its
    architecture asks for; SettingsError where it is of another `architecture` than is asked for.
    """
    path = Path(path).expanduser()
    about, tensors = _read(path)
    found, shape = about["architecture"], about["shape"]
    wanted = found if architecture is None else json.loads(json.dumps(dict(architecture)))
    if wanted != found:
        raise SettingsError(
            f"{path}: is of the architecture {described(found)}, where {described(wanted)} is asked"
            " for: give a checkpoint of that one"
        )
    try:
        net = make_denoiser(found, seed=0)
        schedule = NoiseSchedule(tensors.pop("alpha_bar"))
        time_map = tensors.pop("time_map", None)
        _fill(path, net, tensors, found)
        return DiffusionModel(
            net.eval(), schedule, about["objective"], cast(Shape, tuple(shape)), found, time_map
        )
    except (SettingsError, TypeError) as error:
        raise DataError(f"{path}: {error}") from error


def described(architecture: Mapping[str, Any]) -> str:
    """An architecture in words: `unet(channels=1, width=16)`."""
    inside = ", ".join(f"{name}={value}" for name, value in architecture.items() if name != "kind")
    return f"{architecture.get('kind')}({inside})"


def _fill(
    path: Path, net: nn.Module, tensors: Mapping[str, Tensor], architecture: Mapping[str, Any]
) -> None:
    """Copy the tensors into the network. Raises DataError, which names one that does not fit."""
    stored = {name.removeprefix("net."): value for name, value in tensors.items()}
    wanted = net.state_dict()
    for name in [*wanted, *stored]:
        there, here = stored.get(name), wanted.get(name)
        if there is None or here is None or there.shape != here.shape:
            has, takes = (
                "none" if value is None else " x ".join(map(str, value.shape)) or "a number"
                for value in (there, here)
            )
            raise DataError(
                f"{path}: does not hold a network {described(architecture)}, as it says:"
                f" {name!r} is {has} there, and {takes} in such a network"
            )
    net.load_state_dict(stored)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            said = (file.metadata() or {}).get("fedsec", "{}")
            about = json.loads(said)
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file") from error
    except (OSError, SafetensorError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: not a safetensors file, or not a whole one ({reason})") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        other = f", but one of the network {about['net']!r}" if _of_a_net(about) else ""
        raise DataError(
            f"{path}: not a diffusion model that this version of fedsec wrote{other}: make one by"
            " 'fedsec diffusion train'"
        )
    whole = {"architecture": dict, "objective": str, "shape": list}
    for name, kind in whole.items():
        if not isinstance(about.get(name), kind):
            raise DataError(f"{path}: its metadata has no {name}: the file was changed, or cut")
    if "alpha_bar" not in tensors:
        raise DataError(f"{path}: has no alpha_bar, the schedule: the file was changed, or cut")
    return about, tensors


def _of_a_net(about: Any) -> bool:
    return isinstance(about, dict) and isinstance(about.get("net"), str)
