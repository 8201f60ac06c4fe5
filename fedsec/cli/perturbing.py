"""Adversarial examples as a user asks for them: which, how large, and towards what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from fedsec.cli.checks import goes_with, one_of
from fedsec.cli.steal import StealFlags
from fedsec.core.rng import torch_stream
from fedsec.data.images import Images
from fedsec.errors import SettingsError
from fedsec.stealing.perturbations import PERTURBATIONS, Bim, Fgsm, MiFgsm, Perturbation, Pgd
from fedsec.stealing.transfer import eps_sweep

EPSILONS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
STEPS = 10  # of those that take several; the step is eps / 4, so that they reach eps


@dataclass(frozen=True)
class Transfers:
    """attacks by name, at each of these eps; a class to reach, or any other than the true one."""

    attacks: tuple[str, ...]
    epsilons: tuple[float, ...]
    target: int | None

    def success(
        self, copy: nn.Module, victim: Callable[[Tensor], Tensor], images: Images, seed: int
    ) -> list[dict[str, Any]]:
        """A row for each attack and eps: success, of how many images, and the largest change."""
        rows: list[dict[str, Any]] = []
        for name in self.attacks:
            found = eps_sweep(
                copy, victim, images, partial(at, name), self.epsilons,
                targets=self.target,
                generator=torch_stream(seed, f"steal transfer {name}", device=images.x.device),
            )  # fmt: skip
            rows += [
                {"attack": name, "eps": eps, "success": one.success, "n": one.n,
                 "largest": one.largest, "target": self.target}
                for eps, one in zip(self.epsilons, found, strict=True)
            ]  # fmt: skip
        return rows


def at(name: str, eps: float) -> Perturbation:
    """The attack at this eps, with as many steps as reach it."""
    if name == "fgsm":
        return Fgsm(eps=eps)
    if name == "mi-fgsm":
        return MiFgsm(eps=eps, steps=STEPS)
    kind: type[Bim] | type[Pgd] = Bim if name == "bim" else Pgd
    return kind(eps=eps, steps=STEPS, step=eps / 4)


def transfers_of(flags: StealFlags, classes: Sequence[str]) -> Transfers:
    """What the options ask for. Raises SettingsError for what is none."""
    wanted = tuple(dict.fromkeys(flags.transfer or ()))
    for name in wanted:
        one_of("--transfer", name, PERTURBATIONS)
    goes_with("--eps", flags.eps, bool(wanted), "--transfer")
    goes_with("--target", flags.target, bool(wanted), "--transfer")
    return Transfers(wanted, _epsilons(flags.eps), _target(flags.target, classes))


def _epsilons(text: str | None) -> tuple[float, ...]:
    if text is None:
        return EPSILONS
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise SettingsError(f"--eps {text!r}: write numbers, as 0.1,0.2") from None
    if not all(0 <= eps <= 1 for eps in found) or list(found) != sorted(set(found)):
        raise SettingsError(f"--eps {text}: give numbers from 0 to 1, rising")
    return found


def _target(text: str | None, classes: Sequence[str]) -> int | None:
    if text is None:
        return None
    if text in classes:
        return list(classes).index(text)
    if text.isdigit() and int(text) < len(classes):
        return int(text)
    raise SettingsError(
        f"--target {text!r} is no class: give 0 to {len(classes) - 1}, or one of"
        f" {', '.join(classes[:20])}"
    )
