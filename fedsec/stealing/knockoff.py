"""Knockoff nets: a surrogate set of natural images, asked about once, labels a copy.

Story       the attacker has photographs of something else. Their answers are enough where they
            resemble the victim's images, or fall into all of its classes.
Random      images are asked about in an order that is drawn once
Adaptive    a bandit over the surrogate's own classes chooses more of what pays: answers that are
            certain, unlike earlier ones, and surprising to the copy
Paper       Orekondy, Schiele, Fritz (2019), arXiv 1812.02766, sections 4.1 and 4.2; ten epochs of
            SGD at 0.1 along a cosine as in the authors' code of MAZE (Kariyappa et al. 2021).
Departures  Asking and learning take turns, so that there is a curve: after each `pool` images the
            copy takes `epochs` epochs' worth of steps on all that were answered, which makes
            `epochs` epochs in the end. RECONSTRUCTED: the three rewards are each divided by the
            largest so far, and where labels are answered all are equally certain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from fedsec.errors import SettingsError
from fedsec.stealing.attack import StealSettings
from fedsec.stealing.online import begin_online
from fedsec.stealing.oracle import Oracle, affordable, ask
from fedsec.stealing.parts import Ended, Parts, Step, histogram_of, keep_apart
from fedsec.stealing.substitute import label_loss, set_rate, train_substitute
from fedsec.stealing.surrogate import Surrogate


@dataclass(frozen=True, kw_only=True)
class Knockoff(StealSettings):
    """In random order; see the module.

    surrogate  what is asked about: nothing else ever is
    pool       images asked about in an iteration
    epochs     over all images in the end
    lr         of SGD at the start, with momentum 0.9 and weight decay 5e-4
    """

    name: ClassVar[str] = "knockoff"

    surrogate: Surrogate
    batch: int = 128
    pool: int = 1000
    epochs: int = 10
    lr: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("pool", "epochs"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} = {getattr(self, name)}: give at least 1")

    def begin(self, oracle: Oracle, substitute: nn.Module, seed: int) -> Parts:
        """A copy that knows nothing. Raises SettingsError where the images are of another shape."""
        found = tuple(self.surrogate.images.x.shape[1:])
        if found != oracle.shape:
            raise SettingsError(
                f"{self.surrogate.name}: images are {found}, the victim's {oracle.shape}: bring"
                " them to one form by resized()"
            )
        sgd = torch.optim.SGD(substitute.parameters(), lr=self.lr, momentum=0.9, weight_decay=5e-4)
        parts = begin_online(substitute, sgd, seed, ("rows",))
        n, where = len(self.surrogate.images), parts.device
        parts.tensors["waiting"] = torch.randperm(
            n, generator=parts.generators["rows"], device=where
        )
        parts.tensors["rows"] = torch.empty(0, dtype=torch.int64, device=where)
        return parts

    def step(self, oracle: Oracle, parts: Parts) -> Step:
        """Ask about the next images, and learn all that were answered."""
        waiting = parts.tensors["waiting"]
        rows, parts.tensors["waiting"] = waiting[: self.pool], waiting[self.pool :]
        return self.learn(oracle, parts, *self.answered(oracle, parts, rows))

    def answered(self, oracle: Oracle, parts: Parts, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As many of these rows as the budget leaves, their images, and the answers."""
        images = self.surrogate.images
        x, answers = ask(oracle, images.x[rows.to(images.x.device)].to(parts.device))
        return rows[: len(x)], x, answers

    def learn(self, oracle: Oracle, parts: Parts, rows: Tensor, x: Tensor, answers: Tensor) -> Step:
        """Put them with what is known, and train on all of it."""
        images, known = self.surrogate.images, parts.tensors
        histogram = histogram_of(answers, oracle.n_classes)
        left = keep_apart(parts, x, answers, self.held_out)[1]
        known["rows"] = torch.cat([known["rows"], rows[: len(left)]])
        known["answers"] = torch.cat([known["answers"], left]) if "answers" in known else left
        total = oracle.queries + affordable(oracle, len(known["waiting"]))
        done = (oracle.queries - len(rows)) / total  # before these
        set_rate(parts.optimisers["substitute"], self.lr * (1 + math.cos(math.pi * done)) / 2)
        some = torch.randperm(
            len(known["rows"]), generator=parts.generators["order"], device=parts.device
        )[: self.epochs * len(rows)]
        loss, steps = train_substitute(
            parts.substitute, parts.optimisers["substitute"],
            images.x[known["rows"][some].to(images.x.device)].to(parts.device),
            known["answers"][some], batch=self.batch, generator=parts.generators["order"],
            epochs=self.epochs, steps=-(-self.epochs * len(rows) // self.batch), loss=label_loss,
        )  # fmt: skip
        ended: Ended = "done" if not len(known["waiting"]) else ""
        return Step(steps=steps, histogram=histogram, losses={"substitute": loss}, ended=ended)


@dataclass(frozen=True, kw_only=True)
class AdaptiveKnockoff(Knockoff):
    """By a gradient bandit over the surrogate's classes (section 4.2).

    The preference for a class rises by (reward - mean reward) * (1 - its chance) / times chosen, as
    that of the others falls by their chance.
    """

    name: ClassVar[str] = "knockoff-adaptive"

    pool: int = 256

    def begin(self, oracle: Oracle, substitute: nn.Module, seed: int) -> Parts:
        """With no preference for a class."""
        parts = super().begin(oracle, substitute, seed)
        n = int(self.surrogate.images.y.max()) + 1
        parts.tensors["preference"] = torch.zeros(n, dtype=torch.float64)
        parts.tensors["chosen"] = torch.zeros(n, dtype=torch.int64)
        parts.tensors["mean_answer"] = torch.zeros(oracle.n_classes, dtype=torch.float64)
        return parts

    def step(self, oracle: Oracle, parts: Parts) -> Step:
        """Choose classes, ask about an image of each choice, learn, and weigh what it gave."""
        rows = self._choose(parts)
        rows, x, answers = self.answered(oracle, parts, rows)
        parts.substitute.eval()
        with torch.no_grad():
            surprise = cross_entropy(parts.substitute(x), answers, reduction="none")
        self._weigh(parts, rows, answers, surprise.double().cpu(), oracle.n_classes)
        return self.learn(oracle, parts, rows, x, answers)

    def _choose(self, parts: Parts) -> Int[Tensor, " row"]:
        """Images not asked about yet, of classes drawn by preference; takes them out."""
        waiting = parts.tensors["waiting"].cpu()
        of_class = self.surrogate.images.y.cpu()[waiting]
        left = torch.bincount(of_class, minlength=len(parts.tensors["preference"]))
        law = parts.tensors["preference"].cpu().softmax(dim=0) * (left > 0)
        n = min(self.pool, len(waiting))
        uniform = torch.rand(
            n, generator=parts.generators["rows"], device=parts.device, dtype=torch.float64
        )
        edges = law.cumsum(dim=0)
        wanted = torch.searchsorted(edges / edges[-1], uniform.cpu(), right=True)
        quota = torch.minimum(torch.bincount(wanted, minlength=len(law)), left)
        rank = one_hot(of_class, len(law))
        place = (rank.cumsum(dim=0) * rank).sum(dim=1)
        taken = place <= quota[of_class]
        parts.tensors["waiting"] = waiting[~taken].to(parts.device)
        return waiting[taken].to(parts.device)

    def _weigh(
        self, parts: Parts, rows: Tensor, answers: Tensor, surprise: Tensor, n_classes: int
    ) -> None:
        """One update of the bandit for each image, in order."""
        known = parts.tensors
        preference, chosen = known["preference"].cpu(), known["chosen"].cpu()
        told = as_laws(answers, n_classes).double().cpu()
        rewards = self._rewards(parts, told, surprise)
        actions = self.surrogate.images.y.cpu()[rows.cpu()].tolist()
        mean = float(parts.numbers.get("mean_reward", 0.0))
        seen = int(parts.numbers.get("rewarded", 0))
        for action, reward in zip(actions, rewards.tolist(), strict=True):
            chosen[action] += 1
            seen += 1
            mean += (reward - mean) / seen
            chance = preference.softmax(dim=0)
            rise = (reward - mean) / int(chosen[action])
            preference -= rise * chance
            preference[action] += rise
        known["preference"], known["chosen"] = preference, chosen
        parts.numbers["mean_reward"], parts.numbers["rewarded"] = mean, seen

    def _rewards(
        self, parts: Parts, told: Float[Tensor, "sample class"], surprise: Tensor
    ) -> Float[Tensor, " sample"]:
        """Mean of certainty, novelty and surprise, each over the largest so far."""
        top = told.topk(2, dim=1).values
        before = parts.tensors["mean_answer"].cpu()
        seen = int(parts.numbers.get("rewarded", 0))
        novelty = (told - before).clamp_min(0).sum(dim=1)
        parts.tensors["mean_answer"] = (before * seen + told.sum(dim=0)) / (seen + len(told))
        total = torch.zeros(len(told), dtype=torch.float64)
        kinds = {"certainty": top[:, 0] - top[:, 1], "novelty": novelty, "surprise": surprise}
        for name, value in kinds.items():
            largest = max(float(parts.numbers.get(name, 0.0)), float(value.max()))
            parts.numbers[name] = largest
            total += value / largest if largest > 0 else 0.0
        return total / len(kinds)


def as_laws(answers: Tensor, n_classes: int) -> Float[Tensor, "sample class"]:
    """Probabilities as they are; labels as certainty."""
    return one_hot(answers, n_classes).to(torch.float64) if answers.ndim == 1 else answers
