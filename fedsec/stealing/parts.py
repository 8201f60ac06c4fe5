"""What an attack is made of while it runs, and what one step of it tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from fedsec.core.rng import torch_stream
from fedsec.stealing.oracle import labels_of

N_HELD = 1000  # queries that are kept apart, at most

Ended = Literal["", "done", "collapsed"]


@dataclass(eq=False)
class Parts:
    """All that changes while an attack runs. A checkpoint is these, so a resumed run is bit-equal.

    nets         by name; the copy is "substitute"
    optimisers   by name, over the parameters of the nets
    generators   of randomness, by name
    tensors      pools, answers, memories; a step may put others in their place
    numbers      counters, such as "iteration"
    """

    nets: dict[str, nn.Module]
    optimisers: dict[str, torch.optim.Optimizer] = field(default_factory=dict)
    generators: dict[str, torch.Generator] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    numbers: dict[str, float | int] = field(default_factory=dict)

    @property
    def substitute(self) -> nn.Module:
        """The copy."""
        return self.nets["substitute"]

    @property
    def device(self) -> torch.device:
        """Where the copy lies."""
        return next(self.substitute.parameters()).device

    @property
    def iteration(self) -> int:
        """Steps of the attack so far."""
        return int(self.numbers.get("iteration", 0))


@dataclass(frozen=True, eq=False, kw_only=True)
class Step:
    """What one iteration of an attack tells; tensors may stay on their device.

    steps       of the substitute's optimiser in it
    histogram   answers of each class in it
    confidence  mean of the substitute's largest probability on what was asked
    flips       share of labels that changed since the same codes were last asked
    losses      by name
    ended       why this was the last one; empty: it was not
    """

    steps: int
    histogram: Int[Tensor, " class"] | None = None
    confidence: Float[Tensor, ""] | float | None = None
    flips: Float[Tensor, ""] | float | None = None
    losses: Mapping[str, Tensor | float] = field(default_factory=dict)
    ended: Ended = ""


def streams(
    seed: int, names: tuple[str, ...], device: torch.device | str
) -> dict[str, torch.Generator]:
    """A stream of randomness for each name, on a device."""
    return {name: torch_stream(seed, f"steal {name}", device=device) for name in names}


def histogram_of(answers: Tensor, n_classes: int) -> Int[Tensor, " class"]:
    """How many answers are of each class, on their device."""
    labels = labels_of(answers)
    counts = torch.zeros(n_classes, dtype=torch.int64, device=labels.device)
    return counts.scatter_add_(0, labels, torch.ones_like(labels))


@torch.no_grad()
def confidence_of(logits: Float[Tensor, "sample class"]) -> Float[Tensor, ""]:
    """Mean of the largest probability."""
    return logits.softmax(dim=1).amax(dim=1).mean()


def keep_apart(
    parts: Parts, x: Tensor, answers: Tensor, share: float | int
) -> tuple[Tensor, Tensor]:
    """Take the last `share` of a batch out, never to be trained on; returns the rest.

    What is kept is a uniform sample, of at most `N_HELD`, of all that was ever taken out: so it
    holds early images too when a generator has come to make one kind only. It is drawn by the
    generator "held" of the parts, on the CPU.
    """
    n = len(x) - int(share * len(x))
    if n < len(x):
        _sample(parts, x[n:], labels_of(answers[n:]))
    return x[:n], answers[:n]


def held_out(parts: Parts) -> tuple[Tensor, Tensor] | None:
    """Images that were kept apart and their labels; None where there are none."""
    n = min(int(parts.numbers.get("held", 0)), N_HELD)
    return (parts.tensors["held_x"][:n], parts.tensors["held_y"][:n]) if n else None


def _sample(parts: Parts, x: Tensor, labels: Tensor) -> None:
    """Vitter's algorithm R, for a batch: row i of all so far takes a place drawn from i + 1."""
    if "held_x" not in parts.tensors:
        parts.tensors["held_x"] = x.new_zeros((N_HELD, *x.shape[1:]))
        parts.tensors["held_y"] = labels.new_zeros(N_HELD)
    seen = int(parts.numbers.get("held", 0))
    drawn = torch.rand(len(x), generator=parts.generators["held"]).tolist()
    places = {}
    for row, share in enumerate(drawn):
        index = seen + row
        place = index if index < N_HELD else int(share * (index + 1))
        if place < N_HELD:
            places[place] = row
    if places:
        rows = torch.tensor(list(places.values()), device=x.device)
        into = torch.tensor(list(places), device=x.device)
        parts.tensors["held_x"][into] = x[rows]
        parts.tensors["held_y"][into] = labels[rows]
    parts.numbers["held"] = seen + len(x)
