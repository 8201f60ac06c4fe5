"""ZSDB3KD-style: soft labels from distances to the decision boundary, without data.

Story       noise images of each class are moved away from the nearest boundary, so that they come
            to lie well inside their class. How near each is to other classes makes a soft label:
            logit_j = 1 / (distance to class j along a line), that of its own class their sum. The
            copy learns labels and soft labels.
Paper       Wang (2021), Zero-shot knowledge distillation from a decision-based black-box model,
            arXiv 2106.03310, sections 3.2 to 3.4, and its code for the noise, the copy's loss at
            temperature 20, and the logit of the own class.
Departures  "Style": the paper asks 5,000 questions for each of 40 moves, and up to 20,000 for each
            distance, some hundred million in all. Here it is a budget that decides how many images
            there are: `moves` moves along the best of a few lines to known images of other classes,
            turned `turns` times by signs (`boundaries`); the distance to a class is that along the
            line to its nearest known image. RECONSTRUCTED: a move is `move` long, and halved up to
            three times where it would change the label. A class that is not known yet is taken to
            be infinitely far. Every answer is counted, none but those for the images is learnt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div

from fedsec.errors import SettingsError
from fedsec.stealing.attack import StealSettings
from fedsec.stealing.boundaries import Inside, bisected, nearest, turned, unit
from fedsec.stealing.online import begin_online, n_remembered, recall, remember
from fedsec.stealing.oracle import Oracle, affordable, ask, labels_of
from fedsec.stealing.parts import Parts, Step, histogram_of, keep_apart
from fedsec.stealing.substitute import train_substitute
from fedsec.stealing.zeroth_order import sphere

HALVINGS = 3
BANK = 50  # known images of a class, the latest


@dataclass(frozen=True, kw_only=True)
class Zsdb3kd(StealSettings):
    """The settings; see the module.

    images       in an iteration
    noise        noise images asked about for each of them, to have all classes
    moves        away from the boundary; published: 40
    move         length of a move, in pixels' units
    lines        to known images of other classes, of which the shortest is taken
    turns        of the direction by signs, of `signs` questions each
    bisections   questions for a distance along a line
    temperature  of soft labels; published: 20
    epochs       of the copy over all images so far, in an iteration
    memory       images that are learnt from, the latest
    lr           of Adam
    """

    name: ClassVar[str] = "zsdb3kd"

    batch: int = 512
    images: int = 50
    noise: int = 4
    moves: int = 3
    move: float | int = 0.5
    lines: int = 3
    turns: int = 1
    signs: int = 10
    bisections: int = 8
    temperature: float | int = 20.0
    epochs: int = 10
    memory: int = 30_000
    lr: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        least = {"images": 2, "noise": 1, "moves": 0, "move": 0, "lines": 1, "turns": 0}
        least |= {"signs": 1, "bisections": 1, "epochs": 1, "memory": 2}
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise SettingsError(f"{name} = {getattr(self, name)}: give at least {smallest}")
        if not self.temperature > 0:
            raise SettingsError(f"temperature = {self.temperature}: give a number above 0")

    def queries_per_image(self, n_classes: int) -> int:
        """At most: where no class is unknown, and all that can be bisected is."""
        turn = self.signs + 1 + self.bisections
        move = self.lines * self.bisections + self.turns * turn + 1 + HALVINGS
        return self.noise + self.moves * move + (n_classes - 1) * self.bisections

    def begin(self, oracle: Oracle, substitute: nn.Module, seed: int) -> Parts:
        """A copy that knows nothing. Raises SettingsError where the budget has no image in it."""
        each = self.queries_per_image(oracle.n_classes)
        if affordable(oracle, each) < each:
            raise SettingsError(
                f"the budget leaves {oracle.remaining()} queries, and an image takes up to {each}:"
                " raise the budget, or give fewer moves, lines or bisections"
            )
        adam = torch.optim.Adam(substitute.parameters(), lr=self.lr)
        return begin_online(substitute, adam, seed, ("images", "turns"))

    def step(self, oracle: Oracle, parts: Parts) -> Step:
        """Find images, move them, measure their distances, and learn all so far.

        What is left in the end and not enough for an image is asked about as noise.
        """
        each = self.queries_per_image(oracle.n_classes)
        n = affordable(oracle, self.images * each) // each
        drawn = noise_images(n * self.noise if n else each, oracle.shape, parts)
        x, answers = ask(oracle, drawn)
        histogram = histogram_of(answers, oracle.n_classes)
        x, answers = keep_apart(parts, x, answers, self.held_out)
        labels = labels_of(answers)
        _bank(parts, x, labels, oracle.n_classes)
        if not n:
            return Step(steps=0, histogram=histogram)
        rows = _even(labels, n, oracle.n_classes)
        x, labels = x[rows], labels[rows]
        x = self._moved(oracle, parts, x, labels)
        logits = self._soft(oracle, parts, x, labels)
        remember(parts, x, torch.cat([labels[:, None].to(logits), logits], dim=1), self.memory)
        known = torch.arange(n_remembered(parts, self.memory), device=parts.device)
        loss, steps = train_substitute(
            parts.substitute, parts.optimisers["substitute"], *recall(parts, known),
            batch=self.batch, generator=parts.generators["order"], epochs=self.epochs,
            loss=lambda found, told: distilled(found, told, self.temperature),
        )  # fmt: skip
        return Step(steps=steps, histogram=histogram, losses={"substitute": loss})

    def _moved(self, oracle: Oracle, parts: Parts, x: Tensor, labels: Tensor) -> Tensor:
        """Away from the nearest boundary, `moves` times; an image that no boundary is known of
        stays where it is."""
        inside = _same_label(oracle, labels)
        for _ in range(self.moves):
            rows, direction, _ = self._nearest_boundary(parts, inside, x, labels)
            length = torch.full((len(rows),), float(self.move), device=x.device)
            left = torch.arange(len(rows), device=x.device)
            for _ in range(1 + HALVINGS):
                if not len(left):
                    break
                step = length[left, None, None, None] * direction[left]
                tried = (x[rows[left]] - step).clamp(0, 1)
                fine = inside(tried, rows[left])
                x = x.index_copy(0, rows[left[fine]], tried[fine])
                left = left[~fine]
                length[left] /= 2
        return x

    def _nearest_boundary(
        self, parts: Parts, inside: Inside, x: Tensor, labels: Tensor
    ) -> tuple[Int[Tensor, " found"], Float[Tensor, "found ..."], Float[Tensor, " found"]]:
        """Rows that a boundary was found of, the way to it, and how far it is."""
        others, of_class = _known(parts)
        far, which = nearest(x, others, of_class != labels[:, None], self.lines)
        rows = far[:, 0].isfinite().nonzero().flatten()
        direction, distance = torch.zeros_like(x[rows]), torch.full_like(far[rows, 0], torch.inf)
        for line in range(far.shape[1]):
            there = far[rows, line].isfinite().nonzero().flatten()
            if not len(there):
                continue
            some = rows[there]
            way = unit(others[which[some, line]] - x[some])
            found = bisected(inside, x[some], way, far[some, line], some, self.bisections)
            better = found < distance[there]
            distance[there[better]], direction[there[better]] = found[better], way[better]
        for _ in range(self.turns if len(rows) else 0):
            around = sphere(self.signs, direction, parts.generators["turns"])
            direction, distance = turned(
                inside, x[rows], direction, distance, rows, around, self.bisections
            )
        return rows, direction, distance

    def _soft(
        self, oracle: Oracle, parts: Parts, x: Tensor, labels: Tensor
    ) -> Float[Tensor, "sample class"]:
        """Logits from distances to every other class."""
        inside = _not_label(oracle)
        others, of_class = _known(parts)
        logits = x.new_zeros((len(x), oracle.n_classes))
        for label in range(oracle.n_classes):
            allowed = (of_class == label)[None, :] & (labels != label)[:, None]
            far, which = nearest(x, others, allowed, 1)
            rows = far[:, 0].isfinite().nonzero().flatten()
            if not len(rows):
                continue
            way = unit(others[which[rows, 0]] - x[rows])
            target = torch.full_like(rows, label)
            found = bisected(inside, x[rows], way, far[rows, 0], target, self.bisections)
            logits[rows, label] = 1 / found.clamp_min(1e-3)
        logits[torch.arange(len(x), device=x.device), labels] = logits.sum(dim=1)
        return logits


def noise_images(
    n: int, shape: tuple[int, int, int], parts: Parts
) -> Float[Tensor, "sample channel height width"]:
    """(U + 0.2) * scale + N * scale', clipped, with both scales from U[0, 1] for each image."""
    generator, where = parts.generators["images"], parts.device
    scales = torch.rand((2, n, 1, 1, 1), generator=generator, device=where)
    flat = torch.rand((n, *shape), generator=generator, device=where)
    bell = torch.randn((n, *shape), generator=generator, device=where)
    return ((flat + 0.2) * scales[0] + bell * scales[1]).clamp(0, 1)


def distilled(
    logits: Float[Tensor, "sample class"],
    told: Float[Tensor, "sample told"],
    temperature: float | int,
) -> Float[Tensor, ""]:
    """Cross-entropy with the label, which `told` starts with, and the summed divergence from the
    soft label, whose logits follow, both at a temperature."""
    labels, soft = told[:, 0].long(), (told[:, 1:] / temperature).softmax(dim=1)
    cool = (logits / temperature).log_softmax(dim=1)
    return cross_entropy(logits, labels) + kl_div(cool, soft, reduction="sum")


def _same_label(oracle: Oracle, labels: Tensor) -> Inside:
    return lambda x, rows: labels_of(oracle(x.clamp(0, 1))) == labels[rows]


def _not_label(oracle: Oracle) -> Inside:
    """Here `rows` are labels themselves: inside is where the label is another one."""
    return lambda x, label: labels_of(oracle(x.clamp(0, 1))) != label


def _even(labels: Tensor, n: int, n_classes: int) -> Int[Tensor, " some"]:
    """`n` rows, as evenly over the classes as they allow, in the order of rank within a class."""
    one_hot = torch.nn.functional.one_hot(labels, n_classes)
    rank = (one_hot.cumsum(dim=0) * one_hot).sum(dim=1)
    return rank.argsort(stable=True)[:n]


def _bank(parts: Parts, x: Tensor, labels: Tensor, n_classes: int) -> None:
    """Keep the latest known images of every class."""
    if "bank_x" in parts.tensors:
        x = torch.cat([parts.tensors["bank_x"], x])
        labels = torch.cat([parts.tensors["bank_y"], labels])
    one_hot = torch.nn.functional.one_hot(labels, n_classes).flip(0)
    age = ((one_hot.cumsum(dim=0) * one_hot).sum(dim=1)).flip(0)  # 1: the latest of its class
    kept = age <= BANK
    parts.tensors["bank_x"], parts.tensors["bank_y"] = x[kept], labels[kept]


def _known(parts: Parts) -> tuple[Tensor, Tensor]:
    return parts.tensors["bank_x"], parts.tensors["bank_y"]
