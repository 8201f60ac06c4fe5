"""What is handed from part to part: a client's `Update`, what is known of it, and a `Result`.

The simulator emits updates, the Flower tap records them, defences map them, and every inversion
consumes them: `Update` is the one currency. `Knowledge` is the threat model as data, printed with
every result that depends on it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fedsec.core.functional import Parameters
from fedsec.errors import UpdateError

Kind = Literal["gradient", "delta"]


@dataclass(frozen=True, eq=False)
class Update:
    """What one client sent in one round.

    kind      "gradient": of the mean loss over the client's samples;
              "delta": parameters after local training minus those received
    tensors   by parameter name, in the order of `net.named_parameters()`
    n         samples that the client trained on; its weight in a weighted mean
    buffers   running statistics after local training, where the network has any
    """

    kind: Kind
    tensors: Parameters
    round: int
    client: int
    n: int
    buffers: Parameters = field(default_factory=dict)

    def checked(self) -> Update:
        """This update. Raises UpdateError, which names client and round, where it is not finite."""
        if all_finite([*self.tensors.values(), *self.buffers.values()]):
            return self
        for name, value in {**self.tensors, **self.buffers}.items():
            if not torch.isfinite(value).all():
                n_bad = int((~torch.isfinite(value)).sum())
                raise UpdateError(
                    f"client {self.client}, round {self.round}: {n_bad} of {value.numel()} entries"
                    f" of {name!r} are not finite; lower its learning rate or clip its update"
                )
        return self

    def save(self, path: Path) -> None:
        """Write to a safetensors file, whole or not at all."""
        stored = {f"tensor:{name}": value.contiguous() for name, value in self.tensors.items()}
        stored |= {f"buffer:{name}": value.contiguous() for name, value in self.buffers.items()}
        about = {
            "kind": self.kind, "round": self.round, "client": self.client, "n": self.n,
            "order": list(self.tensors),
        }  # fmt: skip
        part = path.with_name(path.name + ".part")
        save_file(stored, part, metadata={"fedsec": json.dumps(about)})
        os.replace(part, path)

    @classmethod
    def load(cls, path: Path) -> Update:
        """Read what `save` wrote. Raises UpdateError where the file is something else."""
        try:
            with safe_open(path, framework="pt") as file:
                about = json.loads((file.metadata() or {})["fedsec"])
                stored = {name: file.get_tensor(name) for name in file.keys()}
        except (SafetensorError, KeyError, ValueError) as error:
            raise UpdateError(f"{path}: not an update that fedsec recorded ({error})") from error
        order = about.pop("order")
        return cls(
            tensors={name: stored[f"tensor:{name}"] for name in order},
            buffers={
                name.removeprefix("buffer:"): value
                for name, value in stored.items()
                if name.startswith("buffer:")
            },
            **about,
        )


def all_finite(tensors: Sequence[Tensor]) -> bool:
    """False where an entry is not finite, and where a norm overflows: then look at the entries."""
    floating = [value for value in tensors if value.is_floating_point()]
    if not floating:
        return True
    return bool(torch.stack(list(torch._foreach_norm(floating))).isfinite().all())


@dataclass(frozen=True, kw_only=True)
class Knowledge:
    """What an attacker is taken to know beside the update and the network; None is unknown.

    labels  the client's labels            steps  local optimiser steps
    lr      the local learning rate        order  which samples were in which batch
    t       time steps of a diffusion loss noise  the noise that was added
    prior   a description of what is known about the images
    batch   images in a local step
    """

    labels: tuple[int, ...] | None = None
    steps: int | None = None
    lr: float | None = None
    order: tuple[tuple[int, ...], ...] | None = None
    t: tuple[int, ...] | None = None
    noise: bool | None = None
    prior: str | None = None
    batch: int | None = None

    def __str__(self) -> str:
        known = {f.name: getattr(self, f.name) for f in fields(self)}
        given = [f"{name}={value}" for name, value in known.items() if value is not None]
        unknown = [name for name, value in known.items() if value is None]
        return f"knows {', '.join(given) or 'nothing more'}; not {', '.join(unknown) or 'anything'}"


@dataclass(frozen=True, kw_only=True)
class Result:
    """One line of a results file: what was asked, under which settings, and what came out."""

    what: str
    seed: int
    settings: Mapping[str, Any]
    measures: Mapping[str, Any]
    seconds: float
    knowledge: Knowledge | None = None

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> Result:
        """The inverse of `to_json`."""
        read = json.loads(line)
        known = read.pop("knowledge")
        return cls(**read, knowledge=None if known is None else Knowledge(**_tuples(known)))


def write_results(results: list[Result], path: Path) -> None:
    """Write JSON lines, whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text("".join(result.to_json() + "\n" for result in results))
    os.replace(part, path)


def read_results(path: Path) -> Iterator[Result]:
    """The results of a file that `write_results` wrote."""
    with path.open() as lines:
        for line in lines:
            yield Result.from_json(line)


def _tuples(known: dict[str, Any]) -> dict[str, Any]:
    """JSON has lists only."""

    def frozen(value: Any) -> Any:
        return tuple(map(frozen, value)) if isinstance(value, list) else value

    return {name: frozen(value) for name, value in known.items()}
