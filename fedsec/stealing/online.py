"""What attacks share that teach a copy while they ask: a start, lessons, a memory of answers."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from fedsec.stealing.oracle import Oracle, ask
from fedsec.stealing.parts import Parts, Step, histogram_of, keep_apart, streams
from fedsec.stealing.substitute import AnswerLoss, train_substitute


def begin_online(
    substitute: nn.Module, optimiser: torch.optim.Optimizer, seed: int, drawn: tuple[str, ...]
) -> Parts:
    """The copy, its optimiser, a stream of randomness for each name, and what the loop needs."""
    device = next(substitute.parameters()).device
    return Parts(
        nets={"substitute": substitute},
        optimisers={"substitute": optimiser},
        generators={**streams(seed, ("order", *drawn), device), **streams(seed, ("held",), "cpu")},
    )


def spent(oracle: Oracle) -> float:
    """Share of the budget that is used up; 0 where there is none."""
    return 0.0 if oracle.budget is None else oracle.queries / oracle.budget


def codes(parts: Parts, n: int, latent: int) -> Float[Tensor, "sample latent"]:
    """Latent codes from N(0, 1), by the stream "codes"."""
    return torch.randn((n, latent), generator=parts.generators["codes"], device=parts.device)


class Lessons:
    """What a copy is taught in one iteration, and what `Step` tells of it.

    held_out  share of every batch that is kept apart
    repeats   steps on every batch; the published online attacks take one
    x         the last images that were taught, and `answers` to them
    """

    def __init__(
        self,
        parts: Parts,
        n_classes: int,
        loss: AnswerLoss,
        *,
        held_out: float | int,
        repeats: int = 1,
    ) -> None:
        self.parts, self.loss, self.held_out, self.repeats = parts, loss, held_out, repeats
        self.histogram = torch.zeros(n_classes, dtype=torch.int64, device=parts.device)
        self.total: Tensor | float = 0.0
        self.steps = 0
        self.x: Tensor | None = None
        self.answers: Tensor | None = None

    def ask(
        self, oracle: Oracle, x: Float[Tensor, "sample channel height width"]
    ) -> tuple[Float[Tensor, "asked channel height width"], Tensor]:
        """Ask about as many as the budget leaves, and teach them; returns images and answers.

        Raises BudgetExhausted where nothing is left.
        """
        x, answers = ask(oracle, x)
        self.learn(x, answers)
        return x, answers

    def learn(self, x: Float[Tensor, "sample channel height width"], answers: Tensor) -> None:
        """Teach images that were asked about."""
        self.histogram += histogram_of(answers, len(self.histogram))
        self.x, self.answers = keep_apart(self.parts, x, answers, self.held_out)
        self.again(self.x, self.answers, self.repeats)

    def again(
        self,
        x: Float[Tensor, "sample channel height width"],
        answers: Tensor,
        repeats: int = 1,
    ) -> None:
        """Steps on a whole batch that was asked about before."""
        mean, steps = train_substitute(
            self.parts.substitute, self.parts.optimisers["substitute"], x, answers,
            batch=max(len(x), 1), generator=self.parts.generators["order"], epochs=repeats,
            loss=self.loss,
        )  # fmt: skip
        if steps:
            self.total = self.total + steps * mean
            self.steps += steps

    def step(self, **losses: Tensor | float) -> Step:
        """What the iteration tells; `losses` beside the copy's own mean."""
        if self.steps:
            losses = {"substitute": self.total / self.steps, **losses}
        return Step(steps=self.steps, histogram=self.histogram, losses=losses)


def remember(
    parts: Parts,
    x: Float[Tensor, "sample channel height width"],
    answers: Tensor,
    limit: int,
) -> None:
    """Keep the last `limit` images and their answers; room for them doubles as it is needed."""
    x, answers = x[-limit:], answers[-limit:]
    seen = int(parts.numbers.get("remembered", 0))
    room = len(parts.tensors["memory_x"]) if "memory_x" in parts.tensors else 0
    wanted = min(limit, seen + len(x))
    if wanted > room:
        more = min(limit, max(wanted, 2 * room)) - room
        for name, value in (("memory_x", x), ("memory_y", answers)):
            empty = value.new_zeros((more, *value.shape[1:]))
            held = parts.tensors.get(name)
            parts.tensors[name] = empty if held is None else torch.cat([held, empty])
    places = (seen + torch.arange(len(x), device=x.device)) % limit
    parts.tensors["memory_x"][places] = x
    parts.tensors["memory_y"][places] = answers
    parts.numbers["remembered"] = seen + len(x)


def n_remembered(parts: Parts, limit: int) -> int:
    """How many images are kept."""
    return min(int(parts.numbers.get("remembered", 0)), limit)


def recall(
    parts: Parts, rows: Int[Tensor, " some"]
) -> tuple[Float[Tensor, "some channel height width"], Tensor]:
    """Images that are kept, and their answers."""
    return parts.tensors["memory_x"][rows], parts.tensors["memory_y"][rows]
