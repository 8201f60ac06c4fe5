"""How much an audit looks at: which threat models and attacks, how long, and what is varied."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fedsec.errors import SettingsError
from fedsec.inversion.attacks import ATTACKS, DIFFUSION_ATTACKS
from fedsec.inversion.audit.ladders import LADDERS
from fedsec.inversion.audit.threats import DIFFUSION_THREATS, EVERY_THREAT, THREATS


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Settings of an audit.

    threats, attacks   by name; an attack runs where its threat model is looked at
    iterations         of each attack, at most; those of the literature take some 5,000
    restarts           of each attack; the one whose loss is least counts
    clients            that each point of a curve is measured on; 0 leaves the curves out
    curve_iterations   of the attack that curves are measured by, with one restart
    steps, batches     local steps, and images in one step, that are tried; empty for none
    ladders            defences that are tried, by name
    rungs              strengths of each, evenly from its weakest to its strongest; None for all
    cost_rounds        rounds of training that a defence's accuracy is taken after; 0 for none
    cost_seeds         trainings of each
    """

    threats: tuple[str, ...] = tuple(THREATS)
    attacks: tuple[str, ...] = tuple(ATTACKS)
    iterations: int = 2000
    restarts: int = 2
    clients: int = 4
    curve_iterations: int = 1000
    steps: tuple[int, ...] = (1, 2, 4, 8)
    batches: tuple[int, ...] = (1, 2, 4, 8)
    ladders: tuple[str, ...] = tuple(LADDERS)
    rungs: int | None = None
    cost_rounds: int = 20
    cost_seeds: int = 3

    def __post_init__(self) -> None:
        for what, given, known in (
            ("threat model", self.threats, EVERY_THREAT),
            ("attack", self.attacks, ATTACKS | DIFFUSION_ATTACKS),
            ("defence", self.ladders, LADDERS),
        ):
            for name in given:
                if name not in known:
                    raise SettingsError(f"{what} {name!r} is not one of {', '.join(known)}")
        for name, least in (
            ("iterations", 1), ("restarts", 1), ("clients", 0), ("curve_iterations", 1),
            ("cost_rounds", 0), ("cost_seeds", 1),
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise SettingsError(f"{name} = {getattr(self, name)}: give at least {least}")
        if any(n < 1 for n in (*self.steps, *self.batches)):
            raise SettingsError("steps and batches are numbers from 1")
        if not self.threats:
            raise SettingsError("no threat model: give at least one")

    def strengths(self, ladder: str) -> tuple[float | int, ...]:
        """Of a defence, from weak to strong."""
        every = LADDERS[ladder].strengths
        if self.rungs is None or self.rungs >= len(every):
            return every
        chosen = np.unique(np.linspace(0, len(every) - 1, self.rungs).round().astype(int))
        return tuple(every[place] for place in chosen)


QUICK = Scope(
    iterations=400, restarts=1, clients=2, curve_iterations=250, steps=(1, 4), batches=(1, 4),
    ladders=("noise", "top-k", "bits"), rungs=3, cost_rounds=10, cost_seeds=2,
)  # fmt: skip
"""A few minutes for digits on two cores."""

DIFFUSION = Scope(
    threats=tuple(DIFFUSION_THREATS), attacks=tuple(DIFFUSION_ATTACKS), iterations=600, restarts=4,
    clients=4, curve_iterations=600, steps=(), batches=(1, 2, 4),
    ladders=("noise", "top-k", "bits"), cost_rounds=0,
)  # fmt: skip
"""Of clients that train a diffusion model: they send one gradient, and have no accuracy to lose."""

QUICK_DIFFUSION = replace(
    DIFFUSION, iterations=200, restarts=2, clients=1, curve_iterations=200, batches=(1, 2), rungs=2
)
"""A few minutes for digits on two cores."""
