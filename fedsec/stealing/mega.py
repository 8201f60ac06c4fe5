"""MEGA: copy and generator work together, and only labels are asked for.

Story       a pool of codes, balanced over the victim's classes, is made into images and labelled by
            the victim. The copy S learns these labels; then the generator G moves the images where
            S is surest. Where S agrees with the victim both descend one function,
            J = mean cross-entropy of S(G(z_i)) with the label y_i: coordinate descent.
Losses      S: cross-entropy with the answers (M1, M2). G: -confidence * mean log max_c p_S,c (M3),
            plus diversity * sum_c m_c log m_c with m the mean of p_S over the batch.
Paper       Hong, Huang and Chen (2022), MEGA: Model Stealing via Collaborative Generator-Substitute
            Networks, arXiv 2202.00008. Its body could not be had: losses, order of steps, networks
            and RMSprop are those of the authors' later code; the numbers below are our choice, by
            runs on digits. Diversity: as in DFMS-HL and DisGUIDE.
Departures  Images are made anew from the moved generator in each iteration, as the paper's query
            count says; the authors' code keeps the first ones (`regenerate=False`). The first
            training uses the answers of the balanced search. Answers are kept, never asked twice.
            S is in evaluation mode while G learns, G in training mode always.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from fedsec.errors import SettingsError
from fedsec.stealing.attack import StealSettings
from fedsec.stealing.generator_steps import (
    first_chunk,
    generator_block,
    images_of,
    joint,
    mega_generator_loss,
    negative_entropy,
)
from fedsec.stealing.generators import Activation, make_generator, unit_relu
from fedsec.stealing.oracle import Oracle, affordable, ask, labels_of
from fedsec.stealing.parts import Parts, Step, histogram_of, keep_apart, streams
from fedsec.stealing.pool import balanced_pool
from fedsec.stealing.records import effective_classes
from fedsec.stealing.substitute import label_loss, rmsprop, set_rate, train_substitute

Optimiser = Callable[[list[nn.Parameter], float], torch.optim.Optimizer]


@dataclass(frozen=True, kw_only=True)
class Mega(StealSettings):
    """MEGA; the defaults are those of the method, without what came later.

    pool         codes, n; an iteration asks that many
    warm_epochs  of the copy over the first pool
    s_epochs     of the copy in an iteration, counted over the pool
    g_epochs     of the generator in an iteration
    lr_s, lr_g   rates; with lr_g near lr_s and no diversity the generator collapses
    confidence   weight of (M3); diversity: of the batch entropy
    regenerate   make the images anew in each iteration; without, the first ones and their answers
                 are kept, and nothing more is asked
    fresh_codes  draw the codes anew in each iteration too
    replay       earlier images that the copy goes on learning from, at most
    decay_at     share of the run after which lr_s is multiplied by `decay`
    activation   of the generator; the published ReLU, clipped as the oracle clips, leaves dark
                 pixels dark, and did better on digits than `unit_tanh`
    iterations   at most; None: until the budget is used up
    collapsed    the run has collapsed where the effective number of classes (exp of the entropy)
                 is below this share of the largest seen, `patience` times in a row; 0: never
    """

    name: ClassVar[str] = "mega"

    pool: int = 10_000
    warm_epochs: int = 10
    s_epochs: int = 10
    g_epochs: int = 1
    lr_s: float = 1e-3
    lr_g: float = 1e-5
    confidence: float | int = 1.0
    diversity: float | int = 0.0
    regenerate: bool = True
    fresh_codes: bool = False
    replay: int = 0
    decay_at: float | int = 0.5
    decay: float | int = 0.3
    iterations: int | None = None
    collapsed: float | int = 0.5
    patience: int = 2
    max_rounds: int | None = None
    activation: Activation = unit_relu
    optimiser: Optimiser = rmsprop

    def __post_init__(self) -> None:
        super().__post_init__()
        least = {"pool": 2, "warm_epochs": 0, "s_epochs": 1, "g_epochs": 0, "replay": 0}
        for name, smallest in {**least, "diversity": 0, "confidence": 0, "patience": 1}.items():
            if getattr(self, name) < smallest:
                raise SettingsError(f"{name} = {getattr(self, name)}: give at least {smallest}")
        for name in ("lr_s", "lr_g", "decay_at"):
            if not getattr(self, name) > 0:
                raise SettingsError(f"{name} = {getattr(self, name)}: give a number above 0")
        if self.iterations is not None and self.iterations < 1:
            raise SettingsError(f"iterations = {self.iterations}: give at least 1")
        for name in ("fresh_codes", "replay"):
            if getattr(self, name) and not self.regenerate:
                raise SettingsError(f"{name} has no effect without regenerate: leave it out")

    def begin(self, oracle: Oracle, substitute: nn.Module, seed: int) -> Parts:
        """Both networks and their optimisers; see `Method`."""
        if self.iterations is None and (oracle.budget is None or not self.regenerate):
            raise SettingsError("nothing ends this run: give a budget to use up, or iterations")
        if affordable(oracle, self.pool) < self.pool:
            raise SettingsError(
                f"the budget leaves {oracle.remaining()} queries, and the warm start asks at least"
                f" {self.pool}: raise the budget, or make the pool smaller"
            )
        device = next(substitute.parameters()).device
        generator = make_generator(oracle.shape, self.latent, seed, self.activation).to(device)
        return Parts(
            nets={"substitute": substitute, "generator": generator},
            optimisers={
                "substitute": self.optimiser(list(substitute.parameters()), self.lr_s),
                "generator": self.optimiser(list(generator.parameters()), self.lr_g),
            },
            generators=streams(seed, ("codes", "order"), device) | streams(seed, ("held",), "cpu"),
        )

    def step(self, oracle: Oracle, parts: Parts) -> Step:
        """The warm start, or one more iteration; see `Method`."""
        first = parts.iteration == 0
        asked = self._search(oracle, parts) if first else self._refresh(oracle, parts)
        x, answers = keep_apart(parts, asked.x, asked.answers, self.held_out)
        sample = _Sample(parts, len(x))
        before = joint(parts.substitute, x[: sample.n], answers[: sample.n])
        epochs = self.warm_epochs if first else self.s_epochs
        trained, steps = self._train(oracle, parts, x, answers, epochs)
        after = joint(parts.substitute, x[: sample.n], answers[: sample.n])
        z = parts.tensors["z"]
        moved = generator_block(
            parts.nets["generator"], parts.substitute, parts.optimisers["generator"], z, self._loss,
            epochs=self.g_epochs, batch=self.batch, rng=parts.generators["order"],
        )  # fmt: skip
        at_end = joint(parts.substitute, sample.images(), answers[: sample.n])
        losses = {
            "substitute": trained, "generator": moved, "joint_refreshed": before.value,
            "joint_after_s": after.value, "joint_after_g": at_end.value,
        }  # fmt: skip
        if asked.flips is not None:
            losses["refresh"] = before.value - parts.numbers["joint"]
        parts.numbers["joint"] = float(at_end.value)
        histogram = histogram_of(asked.answers, oracle.n_classes)
        ended = self._collapsed(parts, histogram)
        done = self.iterations is not None and parts.iteration + 1 >= self.iterations
        return Step(
            steps=steps, histogram=histogram, confidence=after.confidence, flips=asked.flips,
            losses=losses, ended="collapsed" if ended else "done" if done else "",
        )  # fmt: skip

    def _search(self, oracle: Oracle, parts: Parts) -> _Asked:
        """The balanced pool."""
        rng = parts.generators["codes"]
        pool = balanced_pool(
            parts.nets["generator"], oracle, self.pool, rng, latent=self.latent,
            max_rounds=self.max_rounds,
        )  # fmt: skip
        parts.tensors |= {"z": pool.z, "labels": labels_of(pool.answers)}
        if not self.regenerate:
            parts.tensors |= {"x": pool.x, "answers": pool.answers}
        return _Asked(pool.x, pool.answers, None)

    def _refresh(self, oracle: Oracle, parts: Parts) -> _Asked:
        """The pool from the generator as it is now, and what the victim says of it."""
        tensors = parts.tensors
        if not self.regenerate:
            return _Asked(tensors["x"], tensors["answers"], None)
        if self.fresh_codes:
            rng = parts.generators["codes"]
            tensors["z"] = torch.randn(tensors["z"].shape, generator=rng, device=rng.device)
        n = affordable(oracle, self.pool)
        x, answers = ask(oracle, images_of(parts.nets["generator"], tensors["z"][: max(n, 2)])[:n])
        labels, known = labels_of(answers), tensors["labels"]
        tensors["labels"] = labels
        if self.fresh_codes or not n:
            return _Asked(x, answers, None)
        return _Asked(x, answers, (labels != known[: len(labels)]).double().mean())

    def _train(
        self, oracle: Oracle, parts: Parts, x: Tensor, answers: Tensor, epochs: int
    ) -> tuple[float | Tensor, int]:
        """The copy's half step, on the pool and on what is replayed, in as many steps as alone."""
        set_rate(parts.optimisers["substitute"], self.lr_s * self._decay(oracle, parts))
        steps = epochs * -(-len(x) // self.batch)
        if self.replay:
            new = x, answers
            if "replay_x" in parts.tensors:
                x = torch.cat([x, parts.tensors["replay_x"]])
                answers = torch.cat([answers, parts.tensors["replay_answers"]])
            self._remember(parts, *new)
        passes = -(-steps // max(-(-len(x) // self.batch), 1))
        return train_substitute(
            parts.substitute, parts.optimisers["substitute"], x, answers, batch=self.batch,
            generator=parts.generators["order"], epochs=passes, steps=steps, loss=label_loss,
        )  # fmt: skip

    def _remember(self, parts: Parts, x: Tensor, answers: Tensor) -> None:
        """Put a pool into the memory; the oldest images leave it."""
        for name, new in (("replay_x", x), ("replay_answers", answers)):
            old = parts.tensors.get(name)
            both = new if old is None else torch.cat([old, new])
            parts.tensors[name] = both[-self.replay :].clone()

    def _decay(self, oracle: Oracle, parts: Parts) -> float:
        done = parts.iteration / self.iterations if self.iterations else 0.0
        if oracle.budget is not None and self.regenerate:
            done = max(done, oracle.queries / oracle.budget)
        return float(self.decay ** (done >= self.decay_at))

    def _loss(self, logits: Tensor, rows: Tensor) -> Tensor:
        loss = mega_generator_loss(logits, self.confidence)
        return loss + self.diversity * negative_entropy(logits) if self.diversity else loss

    def _collapsed(self, parts: Parts, histogram: Tensor) -> bool:
        """Whether too few classes are left, for too long. A rest of the budget tells nothing."""
        balanced = parts.iteration == 0 and self.fresh_codes  # later pools are not: no measure
        if balanced or int(histogram.sum()) < self.pool / 2:
            return False
        width = effective_classes(histogram.cpu())
        widest = parts.numbers["widest"] = max(parts.numbers.get("widest", 0.0), width)
        narrow = int(parts.numbers.get("narrow", 0)) + 1 if width < self.collapsed * widest else 0
        parts.numbers["narrow"] = narrow
        return narrow >= self.patience


STABLE = Mega(fresh_codes=True, lr_g=1e-4, replay=40_000, diversity=1.0)
"""MEGA with what keeps its images diverse: fresh codes, replay and batch entropy, and a generator
that may then be quicker."""


class _Asked(NamedTuple):
    """A pool's images as asked, the answers, and the share of labels that changed."""

    x: Tensor
    answers: Tensor
    flips: Tensor | None


MEASURED = 256  # images of a pool that J is measured on: thrice an iteration


class _Sample:
    """Where J is measured: some of the pool's first chunk, as far as the copy learns from it."""

    def __init__(self, parts: Parts, n_learnt: int) -> None:
        self.generator = parts.nets["generator"]
        self.z = first_chunk(parts.tensors["z"])
        self.n = min(len(self.z), n_learnt, MEASURED)

    def images(self) -> Tensor:
        """From the generator as it is now, clipped as the oracle clips."""
        return images_of(self.generator, self.z)[: self.n].clamp(0, 1)
