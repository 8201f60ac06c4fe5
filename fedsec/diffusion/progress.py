"""The state of a training, and its checkpoints: one safetensors file each, whole or not at all."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fedsec.errors import DataError, SettingsError

if TYPE_CHECKING:
    from fedsec.diffusion.train import TrainSettings

FORMAT = "fedsec diffusion training 1"
MOMENTS = ("exp_avg", "exp_avg_sq", "step")  # what Adam remembers of a parameter


@dataclass(eq=False)
class Progress:
    """Where a training stands; `make_step` changes it in place.

    average    moving averages of the parameters, or None
    generator  of the noise
    losses     of each step, on the network's device; those to come are 0
    done       steps that were made
    drawn      images and times of the steps around; they follow from the seed
    """

    net: nn.Module
    parameters: list[Tensor]
    average: list[Tensor] | None
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    losses: Tensor
    done: int = 0
    drawn: tuple[Tensor, Tensor] | None = None

    @classmethod
    def begin(cls, net: nn.Module, settings: TrainSettings, generator: torch.Generator) -> Progress:
        """Before the first step."""
        learned = [value for value in net.parameters() if value.requires_grad]
        return cls(
            net=net,
            parameters=[value.detach() for value in learned],  # they share the memory
            average=None if settings.ema is None else [v.detach().clone() for v in learned],
            optimizer=torch.optim.Adam(learned, lr=settings.lr, fused=True),
            generator=generator,
            losses=torch.zeros(settings.steps, device=learned[0].device),
        )

    def finish(self) -> None:
        """Put the moving average in the place of the parameters."""
        if self.average is not None:
            with torch.no_grad():
                torch._foreach_copy_(self.parameters, self.average)

    def tensors(self) -> dict[str, Tensor]:
        """All that the rest of the run depends on, by name, on the CPU."""
        found = {f"net.{name}": value for name, value in self.net.state_dict().items()}
        found |= {f"ema.{place}": value for place, value in enumerate(self.average or [])}
        state = self.optimizer.state_dict()["state"]
        for place, moments in state.items():
            found |= {f"adam.{name}.{place}": moments[name] for name in MOMENTS}
        found |= {"losses": self.losses[: self.done], "generator": self.generator.get_state()}
        return {name: value.detach().cpu().contiguous() for name, value in found.items()}

    def restore(self, stored: Mapping[str, Tensor]) -> None:
        """The inverse of `tensors`; raises KeyError, RuntimeError or ValueError where they differ
        in form.
        """
        self.net.load_state_dict({name: stored[f"net.{name}"] for name in self.net.state_dict()})
        for place, value in enumerate(self.average or []):
            value.copy_(stored[f"ema.{place}"])
        self.done = len(stored["losses"])
        self.losses[: self.done] = stored["losses"]
        if self.done:
            whole = self.optimizer.state_dict()
            whole["state"] = {
                place: {name: stored[f"adam.{name}.{place}"] for name in MOMENTS}
                for place in range(len(self.parameters))
            }
            self.optimizer.load_state_dict(whole)
        self.generator.set_state(stored["generator"])
        self.drawn = None


def save_progress(path: Path, progress: Progress, record: Mapping[str, Any]) -> None:
    """Write a checkpoint; `record` is what decides the run, as JSON."""
    part = path.with_name(path.name + ".part")
    about = {"format": FORMAT, "record": json.dumps(record, sort_keys=True)}
    save_file(progress.tensors(), part, metadata=about)
    os.replace(part, path)


def load_progress(path: Path, progress: Progress, record: Mapping[str, Any]) -> None:
    """Put what a checkpoint holds into `progress`.

    Raises DataError where it is broken, or something else; SettingsError, which says what differs,
    where it is of another run.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            stored = {name: file.get_tensor(name) for name in file.keys()}
        there = json.loads(about.get("record", "{}"))
    except (OSError, SafetensorError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: not a checkpoint, or not a whole one ({reason})") from error
    if about.get("format") != FORMAT:
        raise DataError(f"{path}: not a checkpoint of a diffusion training: name another file")
    here = json.loads(json.dumps(record))
    if there != here:
        raise SettingsError(
            f"{path}: is of another run ({'; '.join(differences(there, here))}): remove it to"
            " begin anew, or go on with its settings"
        )
    try:
        progress.restore(stored)
    except (KeyError, RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: not a whole checkpoint ({reason}): remove it") from error


def checksum(values: Tensor) -> list[int]:
    """The length of a tensor and the CRC-32 of its bytes: tells one set from another."""
    array = values.detach().cpu().contiguous().numpy()
    return [len(array), zlib.crc32(array.data)]


def differences(there: Any, here: Any, name: str = "") -> list[str]:
    """Where two records differ, in words: `settings.lr is 0.1 there and 0.05 here`."""
    if isinstance(there, dict) and isinstance(here, dict):
        names = [*there, *(key for key in here if key not in there)]
        return [
            said
            for key in names
            for said in differences(
                there.get(key), here.get(key), f"{name}.{key}" if name else str(key)
            )
        ]
    return [] if there == here else [f"{name} is {there} there and {here} here"]
