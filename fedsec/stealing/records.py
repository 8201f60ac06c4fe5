"""What is known of a copy along the way: one `StealRecord` a point of the curve, as JSON lines."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor, nn

from fedsec.core.functional import State, call
from fedsec.data.images import Images
from fedsec.errors import DataError

BATCH = 1024


class CopyScore(NamedTuple):
    """How a copy does on images of the owner, both in [0, 1].

    accuracy    share of labels that are right
    agreement   share of labels that are the victim's
    """

    accuracy: float
    agreement: float


@dataclass(frozen=True, kw_only=True)
class StealRecord:
    """One point of a curve.

    queries     asked by then               steps       of the substitute's optimiser by then
    seconds     of wall time by then        iteration   of the attack
    accuracy    on the owner's test images; None where there are none to test on
    agreement   with the victim on them; None likewise
    held_out    agreement on queries that the attack keeps apart, mean over their classes; or None
    histogram   how many of the last answers were of each class
    confidence  mean of the substitute's largest probability on the last queries; or None
    flips       share of labels that changed since the same codes were last asked; or None
    losses      by name: of the substitute, the generator, and what else an attack follows
    """

    queries: int
    steps: int
    iteration: int
    seconds: float = 0.0
    accuracy: float | None = None
    agreement: float | None = None
    held_out: float | None = None
    histogram: tuple[int, ...] = ()
    confidence: float | None = None
    flips: float | None = None
    losses: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> str:
        """One line of JSON; what is not finite becomes null."""
        return json.dumps(_finite(asdict(self)), allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> StealRecord:
        """The inverse of `to_json`; a loss that is null is NaN."""
        read = json.loads(line)
        read["histogram"] = tuple(read["histogram"])
        read["losses"] = {
            name: float("nan") if value is None else value for name, value in read["losses"].items()
        }
        return cls(**read)


def write_records(records: Sequence[StealRecord], path: Path) -> None:
    """Write JSON lines, whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text("".join(f"{record.to_json()}\n" for record in records))
    os.replace(part, path)


def read_records(path: Path) -> Iterator[StealRecord]:
    """The records of a file that `write_records` wrote."""
    with path.open() as lines:
        for line in lines:
            yield StealRecord.from_json(line)


def copy_evaluator(
    net: nn.Module, test: Images, victims: Int[Tensor, " sample"]
) -> Callable[[State], CopyScore]:
    """What scores a copy with this network on the owner's images.

    victims   the victim's label of each image; asked by the owner, so not counted as queries

    State and images lie on one device. Raises DataError where there are no images, or not one label
    of the victim's for each.
    """
    if not len(test) or len(victims) != len(test):
        raise DataError(f"{len(test)} test images and {len(victims)} labels of the victim")

    def evaluate(state: State) -> CopyScore:
        labels = predict(net, state, test.x)
        return CopyScore(
            float((labels == test.y).double().mean()),
            float((labels == victims.to(labels.device)).double().mean()),
        )

    return evaluate


@torch.no_grad()
def predict(net: nn.Module, state: State, x: Tensor, batch: int = BATCH) -> Int[Tensor, " sample"]:
    """The labels that a network with this state gives, in evaluation mode; its mode is put back."""
    return torch.cat([predict_logits(net, state, part).argmax(dim=1) for part in x.split(batch)])


@torch.no_grad()
def predict_logits(net: nn.Module, state: State, x: Tensor) -> Tensor:
    """The logits for one batch, likewise."""
    was = net.training
    net.eval()
    try:
        return call(net, state, x)
    finally:
        net.train(was)


def effective_classes(histogram: Sequence[int] | Int[Tensor, " class"]) -> float:
    """exp of the entropy of the class shares: C for a flat histogram, 1 for one class alone."""
    counts = torch.as_tensor(histogram, dtype=torch.float64)
    shares = counts[counts > 0] / counts.sum()
    return float(torch.exp(-(shares * shares.log()).sum()))


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value
