"""TandemGAN: one half of the generator explores, the other exploits, the copy imitates.

Story       x = Ge(Gx(z)). Gx goes where copy and victim differ, Ge where the answer is sure, and
            the copy learns from both. All codes are fresh; every answer is learnt from once.
Labels      Gx: minus the cross-entropy of the copy with the victim's label, through the copy alone.
            Ge: minus the copy's log-confidence (MEGA's M3), which asks nothing. Copy:
            cross-entropy.
Probabil.   Gx: minus the L1 distance of the copy's logits from the victim's, Ge: minus the victim's
            own largest probability, both by differences at the image before the activation. Copy:
            L1 distance of logits.
Queries     an iteration, with a batch of B: 6 B for labels, 9 B for probabilities; 1536 and 2304
            as published
Paper       Hong et al. (2023), Exploring and exploiting data-free model stealing, ECML PKDD, and
            the authors' code. With their VGG networks for Fashion-MNIST and probabilities: 63 % of
            test images right after 10 epochs, 77 after 20, 81 after 50, 84 after 100.
Departures  The code's Ge minimises the victim's confidence (its sign is not that of the labels'
            branch); we maximise it. Its differences pass through tanh whatever the activation is;
            ours through the activation. Rates of all three networks fall at the same times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fedsec.errors import SettingsError
from fedsec.stealing.attack import StealSettings
from fedsec.stealing.generator_steps import mega_generator_loss
from fedsec.stealing.generators import Activation, Generator, make_generator, unit_tanh
from fedsec.stealing.oracle import Mode, Oracle, affordable, ask
from fedsec.stealing.parts import Parts, Step, confidence_of, histogram_of, keep_apart, streams
from fedsec.stealing.substitute import (
    loss_for,
    recovered_logits,
    rmsprop,
    set_rate,
    substitute_step,
)
from fedsec.stealing.zeroth_order import Value, estimate, sphere


@dataclass(frozen=True, kw_only=True)
class Tandem(StealSettings):
    """TandemGAN; rates are those published for Fashion-MNIST (`PUBLISHED` has all).

    s_steps        of the copy in an iteration, each on a fresh batch
    lr_s, lr_x,    rates of the copy, of Gx and of Ge
    lr_e
    decay_at       shares of the run after which the rates are multiplied by `decay`
    directions     of the differences, m; eps: their length
    iterations     at most; None: until the budget is used up
    """

    name: ClassVar[str] = "tandemgan"

    s_steps: int = 5
    lr_s: float = 1e-3
    lr_x: float = 1e-5
    lr_e: float = 1e-6
    decay_at: tuple[float, ...] = (0.5, 0.8)
    decay: float | int = 0.3
    directions: int = 1
    eps: float = 1e-3
    iterations: int | None = None
    activation: Activation = unit_tanh

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("s_steps", "directions"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} = {getattr(self, name)}: give at least 1")
        for name in ("lr_s", "lr_x", "lr_e", "eps"):
            if not getattr(self, name) > 0:
                raise SettingsError(f"{name} = {getattr(self, name)}: give a number above 0")
        if self.iterations is not None and self.iterations < 1:
            raise SettingsError(f"iterations = {self.iterations}: give at least 1")

    def queries(self, mode: Mode) -> int:
        """Asked in an iteration: of the copy's steps, and of Gx and Ge."""
        of_differences = 2 * (1 + self.directions)
        return self.batch * (self.s_steps + (1 if mode == "labels" else of_differences))

    def begin(self, oracle: Oracle, substitute: nn.Module, seed: int) -> Parts:
        """The networks and an optimiser for the copy and for each half; see `Method`."""
        if self.iterations is None and oracle.budget is None:
            raise SettingsError("nothing ends this run: give a budget to use up, or iterations")
        device = next(substitute.parameters()).device
        generator = make_generator(oracle.shape, self.latent, seed, self.activation).to(device)
        return Parts(
            nets={"substitute": substitute, "generator": generator},
            optimisers={
                "substitute": rmsprop(substitute.parameters(), self.lr_s),
                "explore": rmsprop(generator.explore.parameters(), self.lr_x),
                "exploit": rmsprop(generator.exploit.parameters(), self.lr_e),
            },
            generators=streams(seed, ("codes", "directions"), device)
            | streams(seed, ("held",), "cpu"),
        )

    def step(self, oracle: Oracle, parts: Parts) -> Step:
        """One iteration; a rest of the budget that is too small for Gx or Ge goes to the copy."""
        self._set_rates(oracle, parts)
        parts.nets["generator"].train()
        losses: dict[str, Tensor | float] = {}
        parts.substitute.eval()
        if oracle.mode == "labels":
            if affordable(oracle, self.batch) == self.batch:
                losses["explore"] = self._explore_labels(oracle, parts)
            losses["exploit"], confidence = self._exploit_labels(parts)
        else:
            confidence = None
            pair = self.batch * (1 + self.directions)
            if affordable(oracle, pair) == pair:
                losses["explore"] = self._explore_probabilities(oracle, parts)
            if affordable(oracle, pair) == pair:
                losses["exploit"] = self._exploit_probabilities(oracle, parts)
        losses["substitute"], histogram, steps = self._imitate(oracle, parts)
        done = self.iterations is not None and parts.iteration + 1 >= self.iterations
        return Step(
            steps=steps, histogram=histogram, confidence=confidence, losses=losses,
            ended="done" if done else "",
        )  # fmt: skip

    def _explore_labels(self, oracle: Oracle, parts: Parts) -> Tensor:
        generator = _tandem(parts)
        x = generator(self._codes(parts))
        labels = oracle(x)
        return _descend(
            parts.optimisers["explore"], generator.explore,
            -cross_entropy(parts.substitute(x), labels),
        )  # fmt: skip

    def _exploit_labels(self, parts: Parts) -> tuple[Tensor, Tensor]:
        generator = _tandem(parts)
        logits = parts.substitute(generator.activation(generator.exploit(self._features(parts))))
        loss = mega_generator_loss(logits)
        _descend(parts.optimisers["exploit"], generator.exploit, loss)
        return loss.detach(), confidence_of(logits.detach())

    def _explore_probabilities(self, oracle: Oracle, parts: Parts) -> Tensor:
        """Minus the distance of logits, summed over classes; its mean is over these too."""
        generator, substitute = _tandem(parts), parts.substitute

        def value(v: Tensor) -> Tensor:
            x = generator.activation(v)
            return -(substitute(x) - recovered_logits(oracle(x))).abs().sum(dim=1)

        v = generator(self._codes(parts), False)
        return self._by_differences(
            parts, "explore", generator.explore, v, value, len(v) * oracle.n_classes
        )

    def _exploit_probabilities(self, oracle: Oracle, parts: Parts) -> Tensor:
        generator = _tandem(parts)

        def value(v: Tensor) -> Tensor:
            return -oracle(generator.activation(v)).amax(dim=1)

        v = generator.exploit(self._features(parts))
        return self._by_differences(parts, "exploit", generator.exploit, v, value, len(v))

    def _by_differences(
        self, parts: Parts, name: str, half: nn.Module, v: Tensor, value: Value, scale: int
    ) -> Tensor:
        """One step of a half, by the estimated slope at the images before the activation."""
        directions = sphere(self.directions, v, parts.generators["directions"])
        found = estimate(value, v, directions, eps=self.eps, scale=scale)
        optimiser = parts.optimisers[name]
        optimiser.zero_grad()
        v.backward(found.gradient, inputs=list(half.parameters()))
        optimiser.step()
        return found.value.sum() / scale

    def _imitate(self, oracle: Oracle, parts: Parts) -> tuple[Tensor | float, Tensor, int]:
        """The copy's steps; returns their mean loss, the answers of each class, and how many."""
        generator, loss = parts.nets["generator"], loss_for(oracle.mode)
        losses, made = [], 0
        counts = torch.zeros(oracle.n_classes, dtype=torch.int64, device=parts.device)
        for _ in range(self.s_steps):
            n = affordable(oracle, self.batch)
            if n < 1:
                break
            with torch.no_grad():
                x = generator(self._codes(parts))
            x, answers = ask(oracle, x[:n])
            counts += histogram_of(answers, oracle.n_classes)
            x, answers = keep_apart(parts, x, answers, self.held_out)
            if len(x) > 1:
                parts.substitute.train()
                losses.append(
                    substitute_step(
                        parts.substitute, parts.optimisers["substitute"], x, answers, loss
                    )
                )
                made += 1
        mean = torch.stack(losses).mean() if losses else float("nan")
        return mean, counts, made

    def _codes(self, parts: Parts) -> Tensor:
        rng = parts.generators["codes"]
        return torch.randn((self.batch, self.latent), generator=rng, device=rng.device)

    @torch.no_grad()
    def _features(self, parts: Parts) -> Tensor:
        """What Gx makes of fresh codes."""
        features: Tensor = _tandem(parts).explore(self._codes(parts))
        return features

    def _set_rates(self, oracle: Oracle, parts: Parts) -> None:
        done = parts.iteration / self.iterations if self.iterations else 0.0
        if oracle.budget is not None:
            done = max(done, oracle.queries / oracle.budget)
        factor = self.decay ** sum(done >= share for share in self.decay_at)
        rates = {"substitute": self.lr_s, "explore": self.lr_x, "exploit": self.lr_e}
        for name, lr in rates.items():
            set_rate(parts.optimisers[name], lr * factor)


PUBLISHED: dict[tuple[str, Mode], Tandem] = {
    ("fashion-mnist", "probabilities"): Tandem(iterations=100 * 50, activation=torch.relu),
    ("fashion-mnist", "labels"): Tandem(iterations=50 * 50, activation=torch.relu),
    ("cifar10", "probabilities"): Tandem(iterations=200 * 50, lr_x=1e-4, decay_at=(0.8, 0.95)),
    ("cifar10", "labels"): Tandem(iterations=200 * 50, lr_x=1e-4, decay_at=(0.7, 0.8)),
}
"""(image set, what is answered) -> the settings of the authors' scripts; epochs have 50 each."""


def _descend(optimiser: torch.optim.Optimizer, half: nn.Module, loss: Tensor) -> Tensor:
    """One step of one half; no other network gets gradients."""
    optimiser.zero_grad()
    loss.backward(inputs=list(half.parameters()))
    optimiser.step()
    return loss.detach()


def _tandem(parts: Parts) -> Generator:
    generator = parts.nets["generator"]
    assert isinstance(generator, Generator)
    return generator
